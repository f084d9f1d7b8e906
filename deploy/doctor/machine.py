"""Checks of the machine: Python, nginx or Docker, packages, units, clock, disk and ports."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.core import preflight
from deploy.core.settings import PROJECT

from .findings import Findings, right, unknown, wrong
from .stacks import NativeStack

# This directory exists if systemd is the init system (sd_booted(3)).
SYSTEMD = Path("/run/systemd/system")
# The share of a file system's inodes that should be free.
FREE_INODES = 0.05


def python(stack: NativeStack) -> Findings:
    oldest, newest = (".".join(map(str, version)) for version in (preflight.OLDEST, preflight.NEWEST))
    found = stack.python()
    if not found:
        yield wrong(
            f"Python {oldest} to {newest} is missing", f"sudo apt-get install python{newest} python{newest}-venv"
        )
        return
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if preflight.suitable(found):
        yield right(f"{version}, {found}")
    else:
        yield wrong(f"{found} is {version}: should be {oldest} to {newest}", f"rm -r {preflight.VENV}; {stack.start}")


def nginx(stack: NativeStack) -> Findings:
    if "nginx" not in stack.services:
        return
    if version := preflight.nginx_version():
        yield right(f"{version}, with its brotli module")
    else:
        install = f"sudo apt-get install {' '.join(preflight.NGINX_PACKAGES)}"
        yield wrong("nginx or its brotli module is missing", f"{install}; or {stack.start}, which installs both")


def packages(stack: NativeStack) -> Findings:
    if not stack.instances:
        return
    if not stack.uv().exists():
        yield unknown(f"Python packages: nothing is installed yet; `{stack.start}` installs them")
        return
    check = ["sync", "--frozen", "--check", "--offline", "--no-cache", "--no-dev", "--inexact"]
    done = subprocess.run([stack.uv(), *check], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield right("Python packages match uv.lock")
    elif other := re.findall(r"^ [+~] (\S+)", done.stderr, re.M):
        yield wrong(f"Python packages differ from uv.lock: {', '.join(other)}", stack.start)
    else:
        yield wrong(f"uv.lock: {done.stderr.strip().splitlines()[-1]}", f"git checkout uv.lock; {stack.start}")


def engine(stack: NativeStack) -> Findings:
    """Docker and its compose plugin."""
    from deploy.targets.compose.target import engine

    versions, why = engine()
    install = "https://docs.docker.com/engine/install/; or run without containers: make up STACK=native"
    yield right(versions) if versions else wrong(why, install)


def failed_units(stack: NativeStack) -> Findings:
    """Every unit of systemd, those of other programs included."""
    command = ["systemctl", "--failed", "--plain", "--no-legend", "--full"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    failed = [line.split()[0] for line in listed.splitlines()]
    for unit in failed:
        yield wrong(f"{unit} failed", f"journalctl --unit {unit}; systemctl restart {unit}")
    if not failed:
        yield right("systemd: no unit failed")


def clock(_: NativeStack) -> Findings:
    """adjtimex(2) returns 5, TIME_ERROR, if nothing has set the clock recently."""
    if clock_state() not in (-1, 5):
        yield right("clock: synchronized with a time server")
    elif SYSTEMD.is_dir() and not in_container():
        yield wrong(
            "clock: not synchronized with a time server, and tokens are valid for minutes",
            "sudo apt-get install systemd-timesyncd && sudo timedatectl set-ntp true",
        )
    else:
        yield unknown("clock: this system cannot set it; its host should synchronize with a time server")


def clock_state() -> int:
    # The structure has 208 bytes. Zeroes ask for no change.
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)))


def in_container() -> bool:
    """Return whether this system runs in a container, and so uses its host's clock."""
    return subprocess.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode == 0


def disk(stack: NativeStack) -> Findings:
    seen = set()
    for path in stack.disks():
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        if existing.stat().st_dev in seen:
            continue
        seen.add(existing.stat().st_dev)
        figures = os.statvfs(existing)
        free = figures.f_bavail * figures.f_frsize
        # Some file systems report no inodes.
        inodes = figures.f_favail / figures.f_files if figures.f_files else 1
        said = f"disk of {existing}: {free / 1e9:.1f} GB and {inodes:.0%} of the inodes are free"
        if free >= preflight.FREE_DISK and inodes >= FREE_INODES:
            yield right(said)
        else:
            need = f"should be {preflight.FREE_DISK / 1e9:.0f} GB and {FREE_INODES:.0%}"
            unit = "--inodes" if inodes < FREE_INODES else "--human-readable"
            yield wrong(f"{said}; {need}", f"find what to delete: sudo du -x {unit} {existing} | sort -h | tail")


def port(stack: NativeStack) -> Findings:
    for address, number in stack.addresses():
        said = f"port {number} of {address}"
        why = preflight.why_taken(address, number)
        if not why:
            yield right(f"{said}: free")
            continue
        pids = listeners(number)
        if any(map(stack.is_own_nginx, pids)) or (not pids and stack.is_running):
            yield right(f"{said}: this stack's nginx")
        elif pids:
            names = ", ".join(f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})" for pid in pids)
            other = "or choose another port: make up PORT=8001"
            yield wrong(f"{said}: taken by {names}", f"kill {' '.join(map(str, pids))}; {other}")
        else:
            find = f"find the process: sudo ss -ltnp 'sport = :{number}'"
            yield wrong(f"{said}: {why}", f"{find}; or choose another port: make up PORT=8001")


def listeners(number: str) -> list[int]:
    """Return the pids of the processes that listen on a port, as far as this user may see them."""
    if not shutil.which("ss"):
        return []
    command = ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", f"sport = :{number}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return sorted(set(map(int, re.findall(r"pid=(\d+)", said))))
