"""Output for people, the same on every target, and commands whose failure people see."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn


class Failed(Exception):
    """A failure, in words for the person who ran the command."""


def ok(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


def nothing_runs(said: str = "Nothing is running") -> NoReturn:
    print(f"{said}. `make up` starts it.")
    raise SystemExit(3)


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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def readable(line: str) -> str:
    """Return a log line for people: time, level, message and traceback of a JSON line; any other line unchanged."""
    try:
        entry = json.loads(line)
        message = entry.get("message") or "{method} {path} {status} {duration} s {client}".format(**entry)
        said = f"{entry['time'][11:19]} {entry['level']:<7} {message}  {entry.get('request_id') or ''}".rstrip()
        return f"{said}\n{entry['exc_info']}" if entry.get("exc_info") else said
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


# Lines of a log that show why a service does not start. gunicorn's two workers print 45 with their tracebacks.
LOG_END = 50


def readable_end(log: str) -> str:
    """Return the end of a log, for people."""
    return "\n".join(map(readable, log.strip().splitlines()[-LOG_END:])) or "(empty)"


def run(*command: str, **options: Any) -> str:
    """Run a command with subprocess's `options`. Return its output. Raises Failed with it."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if done.returncode:
        said = "\n".join(map(readable, done.stdout.strip().splitlines()))
        raise Failed(f"{' '.join(command[:5])} failed:\n\n{said}")
    return done.stdout.strip()


def output(*command: str, timeout: float | None = None) -> str:
    """Return what a command prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    return "" if done.returncode else done.stdout.strip()


def follow(commands: Mapping[str, Sequence[str]]) -> None:
    """Print the lines of commands until all of them end. The keys are the names that the lines get."""
    width = max(map(len, commands))
    processes = {
        name: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
        for name, command in commands.items()
    }

    def show(name: str) -> None:
        for line in processes[name].stdout or ():
            if line.strip():
                print(f"{name:<{width}}  {readable(line.rstrip())}", flush=True)

    # End with the process at the other end of an ssh connection.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit())
    threads = [threading.Thread(target=show, args=(name,), daemon=True) for name in processes]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes.values():
            process.terminate()
