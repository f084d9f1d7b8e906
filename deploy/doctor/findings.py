"""The result of a check, and how results are printed. Standard library only."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from deploy.core.console import Failed

MARKS = {"✓": "passed", "!": "to fix soon", "✗": "failed", "·": "not checked"}


class Finding(NamedTuple):
    """One line of the doctor's output. `remedy` is the command that fixes it, or several lines."""

    mark: str
    what: str
    remedy: str = ""


Findings = Iterator[Finding]
Check = Callable[[Any], Findings]


def right(what: str) -> Finding:
    return Finding("✓", what)


def soon(what: str, remedy: str) -> Finding:
    """Return a finding for something that still works but needs attention."""
    return Finding("!", what, remedy)


def wrong(what: str, remedy: str) -> Finding:
    return Finding("✗", what, remedy)


def unknown(what: str) -> Finding:
    """Return a finding for a check that cannot be made."""
    return Finding("·", what)


def look(checks: Iterable[Check], stack: object) -> Findings:
    """Run the checks on a stack. A check that cannot be made becomes a finding, and the next one follows."""
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            yield from check(stack)
        except ImportError:
            yield unknown(f"{name}: the Python packages are not installed")
        except (Failed, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            yield unknown(f"{name}: {last(error)}")


def last(error: Exception) -> str:
    """Return the line of an error that says what is wrong."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def show(findings: Iterable[Finding]) -> int:
    """Print each finding as soon as it is known, then the totals. Return how many checks failed."""
    marks = []
    for finding in findings:
        print(f"  {finding.mark} {finding.what}", flush=True)
        for line in finding.remedy.splitlines():
            print(f"    {line}")
        marks.append(finding.mark)
    print(", ".join(f"{marks.count(mark)} {word}" for mark, word in MARKS.items() if mark in marks or mark in "✓✗"))
    return marks.count("✗")
