"""Run parts of the tests, `python -m tests.run PART…`, and print a table. Each part is a target of make.

A part that fails does not keep the others from running. The exit status is 1 if one failed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from deploy.core.console import table


def run(part: str) -> tuple[tuple[str, ...], set[str]]:
    """Run a part. Return its row of the table, and why it skipped tests. tests/conftest.py writes the counts."""
    print(f"\n=== make {part}", flush=True)
    with tempfile.NamedTemporaryFile() as results:
        began = time.monotonic()
        environment = os.environ | {"TEST_RESULTS": results.name}
        done = subprocess.run(["make", "--no-print-directory", part], env=environment, check=False)
        seconds = time.monotonic() - began
        sessions = [json.loads(line) for line in Path(results.name).read_text().splitlines()]
    counts = sum((Counter(session["counts"]) for session in sessions), Counter[str]())
    state = "failed" if done.returncode else "passed"
    row = (
        part,
        state,
        *(str(counts[kind] or "") for kind in ("passed", "failed", "error", "skipped")),
        f"{seconds:.0f} s",
    )
    return row, {reason for session in sessions for reason in session["skipped"]}


def main() -> None:
    rows: list[tuple[str, ...]] = [("part", "", "passed", "failed", "errors", "skipped", "time")]
    reasons: set[str] = set()
    for part in sys.argv[1:]:
        row, skipped = run(part)
        rows.append(row)
        reasons |= skipped
    print()
    table(rows)
    for reason in sorted(reasons):
        print(f"skipped: {reason}")
    if failed := [row[0] for row in rows if row[1] == "failed"]:
        sys.exit(f"\n✗ failed: {', '.join(failed)}. `make PART` runs one again.")


if __name__ == "__main__":
    main()
