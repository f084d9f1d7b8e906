"""Processes of this machine, from /proc (proc(5)). Standard library only: `make down` works with nothing installed."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process as it was when it was looked at. `started` tells it from a later one with the same pid."""

    pid: int
    name: str
    state: str
    parent: int
    # Ticks since the machine started.
    started: int


def find(pid: int, zombies: bool = False) -> Process | None:
    """Return a process, or None if it has ended. A zombie has ended, and waits for its parent to notice."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(") ")
    fields = after.split()
    found = Process(pid, before.partition(" (")[2], fields[0], int(fields[1]), int(fields[19]))
    return None if found.state in "ZX" and not zombies else found


def processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := find(int(entry.name))):
            yield found


def workers(master: int) -> list[Process]:
    """Return the children of a master that serve, the oldest first. Two of nginx look after its cache instead."""
    found = (each for each in processes() if each.parent == master and not title(each.pid).startswith("nginx: cache"))
    return sorted(found, key=lambda each: each.pid) if master else []


def is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger stopped a process, which then does nothing and still exists."""
    found = find(pid)
    return found is not None and found.state in "Tt"


def is_alive(process: Process, zombies: bool = False) -> bool:
    found = find(process.pid, zombies)
    return found is not None and found.started == process.started


def environment(pid: int) -> dict[str, str]:
    """Return the variables that a process started with; none if it is another user's."""
    try:
        text = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def directory(pid: int) -> str:
    """Return where a process works; empty if it is another user's."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def title(pid: int) -> str:
    """Return the words of a process's command, or what it shows instead of them."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def memory(pid: int) -> float:
    """Return the proportional set size in MB: shared memory counts once in the sum of the processes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def started_at(process: Process) -> float:
    """Return when a process started, in seconds since 1970."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + process.started / TICKS


def signal_all(found: Iterable[Process], number: int) -> None:
    for process in found:
        if is_alive(process):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def wait_until_ended(found: Iterable[Process], seconds: float, zombies: bool = False) -> list[Process]:
    """Wait until all processes have ended. Return those that have not after `seconds`."""
    left, deadline = list(found), time.monotonic() + seconds
    while (left := [process for process in left if is_alive(process, zombies)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
