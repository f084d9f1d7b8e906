"""The commands of this target: up, dev, down, restart, status, logs, manage, maintenance, destroy."""

import argparse
import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta

from deploy.core import local_backup, maintenance_mode, processes
from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import Failed, confirm, follow, nothing_runs, split, table
from deploy.core.owner import act_as_owner, act_as_owner_of_project, take_over
from deploy.core.preflight import ENVIRONMENT, READABLE, VENV
from deploy.core.settings import PROJECT, VAR, make_env_file, one_at_a_time, read_file

from . import up as up_steps
from .backup import data_of
from .target import LOG, RUN, NativeTarget, variables

STATES = {"R": "running", "S": "sleeping", "D": "waiting for the disk", "T": "stopped", "t": "traced", "I": "idle"}
# Commands of manage.py that write to the sources: as the project's owner. The stack's owner, www-data, may not.
WRITE_SOURCES = [
    [name] for name in ("makemigrations", "squashmigrations", "makemessages", "compilemessages", "startapp")
]


def last_target(changes: bool = True) -> NativeTarget:
    """Return the stack of the last `make up`, with its variables. Raises SystemExit if there is none.

    Root acts as the stack's owner. A command that only looks does not change whose its files are.
    """
    if not ENVIRONMENT.exists():
        nothing_runs("Nothing has run here yet")
    take_over() if changes else act_as_owner()
    return NativeTarget(read_file(ENVIRONMENT))


def up(_: argparse.Namespace) -> None:
    make_env_file()
    found = variables()
    take_over()
    with one_at_a_time():
        up_steps.up(NativeTarget(found))


def dev(options: argparse.Namespace) -> None:
    """The stack with debug pages. Rolls an app when you save one of its files. Follows the logs until interrupted."""
    make_env_file()
    target = NativeTarget(variables() | {"DEBUG": "on", "CORES": "1"})
    take_over()
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


def backup(_: argparse.Namespace) -> None:
    repository = local_backup.Repository()
    target = last_target()
    with one_at_a_time():
        local_backup.back_up(data_of(target.variables), repository)


def restore(options: argparse.Namespace) -> None:
    repository = local_backup.Repository(options.origin)
    target = last_target()

    def stop() -> bool:
        return bool(target.shut_down())

    with one_at_a_time():
        local_backup.restore(data_of(target.variables), repository, options, stop, lambda: up_steps.up(target))


def restore_drill(_: argparse.Namespace) -> None:
    repository = local_backup.Repository()
    target = last_target()
    with one_at_a_time():
        local_backup.drill(data_of(target.variables), repository)


def restart(options: argparse.Namespace) -> None:
    """Roll one app, or all; or upgrade nginx in place."""
    target = last_target()
    with one_at_a_time():
        if not target.is_running():
            nothing_runs()
        if target.why_not_ready("nginx"):
            raise Failed("nginx does not answer, so nobody is served. See `make logs APP=nginx`, then run `make up`.")
        target.restart_all(options.app)


def maintenance(options: argparse.Namespace) -> None:
    target = last_target()
    with one_at_a_time():
        if not target.is_running():
            nothing_runs()
        maintenance_mode.run(options.state, up_steps.address(target.variables), target.restart_all)


def status(_: argparse.Namespace) -> None:
    target = last_target(changes=False)
    if not target.is_running():
        left = len(list(target.all_processes()))
        nothing_runs(f"supervisord has ended and left {left} processes behind" if left else "Nothing is running")
    rows: list[tuple[str, ...]] = [("service", "pid", "state", "since (UTC)", "memory", "requests", "watchers")]
    total = processes.memory(int(target.supervisor.getPID()))
    for service, info in target.processes().items():
        found, memory = status_rows(target, service, info["pid"], info["statename"].lower())
        rows += found
        total += memory
    table(rows)
    said = f"{total:.0f} MB in all, supervisord included. {maintenance_mode.notice(VAR)}".rstrip()
    print(f"\n{up_steps.address(target.variables)}  {said}")


def status_rows(target: NativeTarget, service: str, pid: int, state: str) -> tuple[list[tuple[str, ...]], float]:
    """Return a row for a service and for each of its workers, and their memory in MB."""
    instance = INSTANCES.get(service)
    out = ", out of rotation: `make restart`" if instance and not target.is_in_rotation(instance) else ""
    master = processes.find(pid) if pid else None
    if not master:
        return [(service, "-", state + out, "-", "-", "-", "-")], 0
    served = instance.server.served(RUN, service, target.workers) if instance else {}
    ready = (target.why_not_ready(service) or "ready") + out
    rows: list[tuple[str, ...]] = []
    total = 0.0
    for number, process in enumerate([master, *processes.workers(pid)]):
        memory, began = processes.memory(process.pid), int(processes.started_at(process))
        since = f"{datetime.fromtimestamp(began, UTC):%d %b %H:%M:%S} ({timedelta(seconds=int(time.time()) - began)})"
        name, words = (
            (f"  worker {number - 1}", STATES.get(process.state, process.state)) if number else (service, ready)
        )
        counts = served.get(process.pid, ("", ""))
        rows.append((name, str(process.pid), words, since, f"{memory:.0f} MB", *counts))
        total += memory
    return rows, total


def logs(options: argparse.Namespace) -> None:
    act_as_owner()
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
    words = split(options.arguments)
    if words[:1] in WRITE_SOURCES:
        target = NativeTarget(read_file(ENVIRONMENT))
        # The owner of the stack has to read what this writes.
        os.umask(READABLE)
        act_as_owner_of_project()
    else:
        target = last_target(changes=False)
    python = str(VENV / "bin/python")
    os.chdir(PROJECT)
    os.execve(python, [python, app.manage, *words], os.environ | target.variables)
