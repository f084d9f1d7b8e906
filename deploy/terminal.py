"""Output made for the eye, the same wherever the stack runs."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence

from deploy.instance import READY


class Failed(Exception):
    """Something that the person at the keyboard has to know, in words for them."""


def confirm(name: str, what: str) -> None:
    """Asks before data is deleted; raises Failed unless the name is typed."""
    print(f"This deletes the data of {name}: {what}. What people did there is gone.")
    if input(f"Type {name} to go on: ") != name:
        raise Failed("nothing was deleted")


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """A line of progress, with the time that it took."""
    started = time.monotonic()
    print(f"  · {what} … ", end="", flush=True)
    try:
        yield
    except Failed:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def readable(line: str) -> str:
    """A line of a log for the eye: of a JSON one the time, level, message and traceback; any other as it is."""
    try:
        entry = json.loads(line)
        message = entry.get("message") or "{method} {path} {status} {duration} s {client}".format(**entry)
        traceback = f"\n{entry['exc_info']}" if entry.get("exc_info") else ""
        return (
            f"{entry['time'][11:19]} {entry['level']:<7} {message}  {entry.get('request_id') or ''}".rstrip()
            + traceback
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


def wait_ready(
    part: str, why_not_ready: Callable[[str], str], cannot_stay_up: Callable[[], bool], log: Callable[[], str]
) -> None:
    """Raises Failed, with the end of its log, if a part cannot stay up or is not ready by the deadline."""
    deadline = time.monotonic() + READY
    while reason := why_not_ready(part):
        if cannot_stay_up():
            fault = "cannot stay up"
        elif time.monotonic() > deadline:
            fault = f"was not ready within {READY} s: {reason}"
        else:
            time.sleep(0.1)
            continue
        raise Failed(f"{part} {fault}. The end of its log:\n\n{log()}")


def rolled(app: str, roll: Iterator[str], serving: Callable[[], list[str]]) -> None:
    """Goes through a roll and says of each instance that it is back, or why the roll ended and who serves on."""
    since = time.monotonic()
    try:
        for instance in roll:
            print(f"  ✓ {instance} restarted and ready, {time.monotonic() - since:.1f} s", flush=True)
            since = time.monotonic()
    except Failed as failed:
        left = f"{' and '.join(serving())} serves on" if serving() else f"nothing of {app} serves"
        raise Failed(f"{failed}\n\nIt gets no requests, and {left}. Mend it and run this again.") from None
