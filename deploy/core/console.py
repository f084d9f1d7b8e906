"""Output for people, the same on every target."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence


class Failed(Exception):
    """A failure, in words for the person who ran the command."""


def ok(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


def confirm(name: str, what: str) -> None:
    """Ask before data is deleted. Raises Failed unless the person types `name`."""
    print(f"This deletes the data of {name}: {what}. It cannot be undone.")
    if input(f"Type {name} to delete it: ") != name:
        raise Failed("Nothing was deleted")


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print a line of progress with the time that the block took."""
    started = time.monotonic()
    print(f"  · {what} … ", end="", flush=True)
    try:
        yield
    except Failed:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def readable(line: str) -> str:
    """Return a log line for people: time, level, message and traceback of a JSON line; any other line unchanged."""
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
