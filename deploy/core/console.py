"""Output for people, the same on every target, and commands whose failure people see."""

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO


class Output:
    """stdout or stderr that outlives its reader: `make up | head -n 1` starts everything."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.is_lost = False

    def write(self, text: str) -> int:
        self.attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self.attempt(self.stream.flush)

    def attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            # A closed pipe, a terminal that hung up, or a full disk. Discard the buffered output too.
            self.is_lost = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard_output() -> None:
    """Let no reader, no 8-bit terminal and no character end this command."""
    for stream in (sys.stdout, sys.stderr):
        # None if the caller closed it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115
    sys.stdout, sys.stderr = (Output(stream or nowhere) for stream in (sys.stdout, sys.stderr))


def is_output_lost() -> bool:
    """Return whether nobody reads stdout any more. Only after guard_output()."""
    return getattr(sys.stdout, "is_lost", False)


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
    if os.environ.get("YES") == "yes":
        return
    try:
        answer = input(f"Type {name} to delete it: ")
    except EOFError:
        print()
        raise Failed(
            "Nothing was deleted: there is no terminal to ask. `make destroy YES=yes` deletes without asking."
        ) from None
    if answer != name:
        raise Failed("Nothing was deleted")


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print a line of progress with the time that the block took."""
    started = time.monotonic()
    print(f"  · {what} … ", end="", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def printable(text: str) -> str:
    """Return a text of strangers with everything escaped that a terminal would act on; tabs stay.

    Escape sequences set titles, the clipboard and colours; newlines, and marks for the direction of text, forge lines.
    """
    return "".join(char if char.isprintable() or char == "\t" else escape(char) for char in text)


def escape(char: str) -> str:
    # A byte that is not UTF-8, read with surrogateescape.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def readable(line: str) -> str:
    """Return a log line for people: time, level, message and traceback of a JSON line; any other line as it is.

    Everything that a terminal would act on is escaped, in the traceback too.
    """
    try:
        entry = json.loads(line, strict=False)
        message = entry.get("message") or "{method} {path} {status} {duration} s {client}".format(**entry)
        said = printable(
            f"{entry['time'][11:19]} {entry['level']:<7} {message}  {entry.get('request_id') or ''}".rstrip()
        )
        trace = [printable(each) for each in str(entry.get("exc_info") or "").split("\n") if each]
        return "\n".join([said, *trace])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return printable(line)


# Lines of a log that show why a service does not start. gunicorn's two workers print 45 with their tracebacks.
LOG_END = 50


def readable_end(log: str) -> str:
    """Return the end of a log, for people."""
    return "\n".join(map(readable, log.strip().split("\n")[-LOG_END:])) or "(empty)"


def split(arguments: str) -> list[str]:
    """Return the words of ARGS as a shell would split it. Raises Failed."""
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise Failed(f"ARGS is {arguments!r}: {error}") from None


def run(*command: str, **options: Any) -> str:
    """Run a command with subprocess's `options`. Return its output. Raises Failed with it."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
    try:
        done = subprocess.run(command, check=False, text=True, errors="replace", **options)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = "\n".join(map(readable, ((done.stdout or "") + (done.stderr or "")).strip().splitlines()))
        raise Failed(f"{' '.join(command[:5])} failed:\n\n{said}")
    return (done.stdout or "").strip()


def output(*command: str, timeout: float | None = None) -> str:
    """Return what a command prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def follow(commands: Mapping[str, Sequence[str]]) -> None:
    """Print the lines of commands until all of them end. The keys are the names that the lines get."""
    width = max(map(len, commands))
    processes = {
        name: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for name, command in commands.items()
    }

    def show(name: str) -> None:
        # Bytes: text would be split at other characters than "\n" too.
        for line in processes[name].stdout or ():
            if line.strip():
                print(f"{name:<{width}}  {readable(line.decode(errors='surrogateescape').rstrip())}", flush=True)
            if is_output_lost():
                os.kill(os.getpid(), signal.SIGINT)
                return

    # End with the process at the other end of an ssh connection.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit())
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
