"""The commands of this target: up, dev, down, restart, status, logs, manage, destroy."""

import argparse
import contextlib
import os
import pwd
import shlex
import shutil
import sys
import threading
from datetime import datetime
from pathlib import Path

import psutil

from deploy.core import preflight
from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import Failed, confirm, follow, nothing_runs, table
from deploy.core.settings import PROJECT, VAR, make_env_file, one_at_a_time, parse

from . import up as up_steps
from .target import LOG, RUN, NativeTarget, variables


def drop_root() -> None:
    """As root, go on as www-data: nothing here needs root, and a server that faces the world must not have it."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam("www-data")
    VAR.mkdir(parents=True, exist_ok=True)
    if VAR.stat().st_uid != account.pw_uid:
        for path in [VAR, *VAR.rglob("*")]:
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = str(VAR)
    for path in (Path(sys.executable), PROJECT / "deploy", VAR):
        if not os.access(path, os.R_OK | os.X_OK):
            raise Failed(
                f"When root starts the stack, it runs as www-data, which may not read {path}.\n"
                "Run this as an ordinary user, or move the project to a directory that others may enter, such as /srv."
            )


def last_target() -> NativeTarget:
    """Return the stack of the last `make up`, with its variables. Raises SystemExit if there is none."""
    if not up_steps.ENVIRONMENT.exists():
        nothing_runs("Nothing has run here yet")
    drop_root()
    return NativeTarget(parse(up_steps.ENVIRONMENT.read_text()))


def up(_: argparse.Namespace) -> None:
    make_env_file()
    found = variables()
    drop_root()
    with one_at_a_time():
        up_steps.up(NativeTarget(found))


def dev(options: argparse.Namespace) -> None:
    """The stack with debug pages. Rolls an app when you save one of its files. Follows the logs until interrupted."""
    preflight.install(["dev"], quiet=True)
    make_env_file()
    target = NativeTarget(variables() | {"DEBUG": "on", "CORES": "1"})
    drop_root()
    with one_at_a_time():
        up_steps.up(target)
    print()
    threading.Thread(target=up_steps.roll_on_save, args=[target], daemon=True).start()
    logs(options)
    print("\nThe stack is still running. `make down` stops it.")


def down(_: argparse.Namespace) -> None:
    target = last_target()
    with one_at_a_time():
        count = target.shut_down()
    print(f"Stopped {count} processes." if count else "Nothing was running.")


def destroy(_: argparse.Namespace) -> None:
    target = last_target()
    with one_at_a_time():
        confirm(VAR.parent.name, f"everything in {VAR}")
        target.shut_down()
        # Not the directory itself: www-data may not be allowed to write to its parent.
        for path in VAR.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print("Deleted. `make up` starts from nothing.")


def restart(options: argparse.Namespace) -> None:
    """Roll one app, or all; or upgrade nginx in place."""
    target = last_target()
    with one_at_a_time():
        if not target.is_running():
            nothing_runs()
        if target.why_not_ready("nginx"):
            raise Failed("nginx does not answer, so nobody is served. See `make logs APP=nginx`, then run `make up`.")
        target.restart_all(options.app)


def status(_: argparse.Namespace) -> None:
    target = last_target()
    if not target.is_running():
        nothing_runs()
    rows: list[tuple[str, ...]] = [("service", "pid", "state", "since", "memory", "requests", "watchers")]
    total = 0.0
    for service, info in target.processes().items():
        found, memory = status_rows(target, service, info["pid"], info["statename"].lower())
        rows += found
        total += memory
    total += megabytes(psutil.Process(int(target.supervisor.getPID())))
    table(rows)
    print(f"\n{up_steps.address(target)}  {total:.0f} MB in all, supervisord included.")


def status_rows(target: NativeTarget, service: str, pid: int, state: str) -> tuple[list[tuple[str, ...]], float]:
    """Return a row for a service and for each of its workers, and their memory in MB."""
    instance = INSTANCES.get(service)
    out = ", out of rotation: `make restart`" if instance and not target.is_in_rotation(instance) else ""
    if not pid:
        return [(service, "-", state + out, "-", "-", "-", "-")], 0
    served = instance.server.served(RUN, service, target.workers) if instance else {}
    ready = (target.why_not_ready(service) or "ready") + out
    master = psutil.Process(pid)
    rows: list[tuple[str, ...]] = []
    total = 0.0
    for number, process in enumerate([master, *sorted(master.children(), key=lambda child: child.pid)]):
        # A worker may be recycled at this very moment.
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = megabytes(process)
            began = datetime.fromtimestamp(int(process.create_time()))
            since = f"{began:%d %b %H:%M:%S} ({datetime.now().replace(microsecond=0) - began})"
            name, words = (f"  worker {number - 1}", process.status()) if number else (service, ready)
            counts = served.get(process.pid, ("", ""))
            rows.append((name, str(process.pid), words, since, f"{memory:.0f} MB", *counts))
            total += memory
    return rows, total


def megabytes(process: psutil.Process) -> float:
    """Return the proportional set size: shared memory counts once in the sum of the processes."""
    return float(process.memory_full_info().pss) / 1e6


def logs(options: argparse.Namespace) -> None:
    app = APPS.get(options.app)
    names = [instance.name for instance in app.instances] if app else [options.app or "*"]
    files = sorted(file for name in names for file in LOG.glob(f"{name}.log"))
    if not files:
        raise Failed(f"No log of {options.app or 'anything'} in {LOG}. Has it run?")
    follow({file.stem: ["tail", "--lines=20", "--follow=name", "--retry", str(file)] for file in files})


def manage(options: argparse.Namespace) -> None:
    """Become Django's manage.py, with the settings of the running stack."""
    app = django()
    assert app
    words = [sys.executable, str(PROJECT / app.manage), *shlex.split(options.arguments)]
    os.execve(words[0], words, os.environ | last_target().variables)
