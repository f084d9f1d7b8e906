"""Run parts of the tests, two at a time, and print a table: `python -m tests.run PART…`. A part is a target of make.

A part prints its output when it ends. The others run even if one fails. The exit status is 1 if one failed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.core.console import table

Row = tuple[str, ...]


def run(part: str) -> tuple[Row, set[str]]:
    """Run a part. Return its row of the table, and why it skipped tests. tests/conftest.py writes the counts."""
    print(f"=== make {part}: began", flush=True)
    with tempfile.NamedTemporaryFile() as results, tempfile.TemporaryFile() as output:
        began = time.monotonic()
        done = subprocess.run(
            ["make", "--no-print-directory", part],
            env=os.environ | {"TEST_RESULTS": results.name},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.monotonic() - began
        output.seek(0)
        print(f"\n=== make {part}: its output\n\n{output.read().decode(errors='replace')}", flush=True)
        sessions = [json.loads(line) for line in Path(results.name).read_text().splitlines()]
    counts = sum((Counter(session["counts"]) for session in sessions), Counter[str]())
    state = "failed" if done.returncode else "passed"
    numbers = (str(counts[kind] or "") for kind in ("passed", "failed", "error", "skipped"))
    return (part, state, *numbers, f"{seconds:.0f} s"), {each for session in sessions for each in session["skipped"]}


def main() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, sys.argv[1:]))
    rows: list[Row] = [("part", "", "passed", "failed", "errors", "skipped", "time"), *(row for row, _ in results)]
    print()
    table(rows)
    for reason in sorted(set().union(*(reasons for _, reasons in results))):
        print(f"skipped: {reason}")
    if failed := [row[0] for row in rows if row[1] == "failed"]:
        sys.exit(f"\n✗ failed: {', '.join(failed)}. `make PART` runs one again.")


if __name__ == "__main__":
    main()
