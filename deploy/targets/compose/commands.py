"""The commands of this target: up, dev, down, restart, status, logs, manage, maintenance, destroy, push."""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from deploy.core import local_backup, maintenance_mode
from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import (
    Failed,
    confirm,
    is_output_lost,
    nothing_runs,
    output,
    printable,
    readable,
    split,
    table,
)
from deploy.core.roll import wait_until
from deploy.core.settings import VAR, bracketed, make_env_file, one_at_a_time, setting, values

from . import generate
from . import up as up_steps
from .backup import PostgreSQLInContainer
from .target import ComposeTarget, engine, git, release


def running_target() -> ComposeTarget:
    """Raises SystemExit with status 3 if nothing runs."""
    target = ComposeTarget()
    if not target.is_running():
        target.check_is_own()
        nothing_runs()
    return target


def up(_: argparse.Namespace, dev: bool = False) -> None:
    started = time.monotonic()
    with one_at_a_time():
        generate.write(dev)
        target = ComposeTarget()
        target.check_is_own()
        was_running = target.is_running()
        before, wanted = target.published(), values()
        if before and was_running and address(before) != address(wanted):
            print(f"The address changes from {address(before)} to {address(wanted)}", flush=True)
        try:
            up_steps.up(target)
            print()
            for service in show_status(target):
                target.wait_until_ready(service)
            wait_until(lambda: not target.why_not_served(), target.why_not_served)
        except BaseException as error:
            if not was_running:
                print("\nStopping what was started …", flush=True)
                target.stop()
            raise error from None
        print(f"Up in {time.monotonic() - started:.1f} s. `make status`, `make logs`, `make down`.")


def dev(options: argparse.Namespace) -> None:
    """The stack with the working tree mounted and debug pages. Follows the logs until it is interrupted."""
    up(options, dev=True)
    print()
    follow_logs(ComposeTarget(), [], lines=0)
    print("\nThe stack is still running. `make down` stops it.")


def down(_: argparse.Namespace) -> None:
    target = ComposeTarget()
    with one_at_a_time():
        target.check_is_own()
        containers = target.containers()
        target.stop()
    print("Stopped. The data is still in its volumes." if containers else "Nothing was running.")


def destroy(_: argparse.Namespace) -> None:
    target = ComposeTarget()
    with one_at_a_time():
        target.check_is_own()
        confirm(target.project, "its volumes, with the database and the uploads")
        target.remove("--volumes")
        maintenance_mode.switch(VAR, "off")
    print("Deleted. `make up` starts from nothing.")


def push(_: argparse.Namespace) -> None:
    """Build the images, and push them to the registry that IMAGE names."""
    image = setting("IMAGE")
    if not image:
        raise Failed("IMAGE is empty: should be, for example, `make push IMAGE=registry.example.org/team/shop`")
    versions, why_not = engine()
    if not versions:
        raise Failed(why_not)
    if not setting("RELEASE") and git("status", "--porcelain"):
        raise Failed("The images would not be those of a commit: commit the changes, or name them with RELEASE=…")
    with one_at_a_time():
        make_env_file()
        generate.write()
        target = ComposeTarget(whole=True)
        target.build()
        target.push()
    print(f"Pushed release {release()}. On a server, check out this commit, set this in .env, and run `make up`:\n")
    print(f"  IMAGE={image}", *([f"  RELEASE={release()}"] if setting("RELEASE") else []), sep="\n")


def backup(_: argparse.Namespace) -> None:
    target = running_target()
    with one_at_a_time():
        local_backup.back_up(PostgreSQLInContainer(target), local_backup.Repository())


def restore(options: argparse.Namespace) -> None:
    target = running_target()

    def stop() -> bool:
        target.compose("stop", "nginx", *INSTANCES)
        return True

    with one_at_a_time():
        repository = local_backup.Repository(options.origin)
        local_backup.restore(PostgreSQLInContainer(target), repository, options, stop, lambda: up_steps.up(target))


def restore_drill(_: argparse.Namespace) -> None:
    target = running_target()
    with one_at_a_time():
        local_backup.drill(PostgreSQLInContainer(target), local_backup.Repository())


def restart(options: argparse.Namespace) -> None:
    target = running_target()
    with one_at_a_time():
        target.restart_all(options.app)


def maintenance(options: argparse.Namespace) -> None:
    target = running_target()
    with one_at_a_time():
        maintenance_mode.run(options.state, address(target.published()), target.restart_all)


def status(_: argparse.Namespace) -> None:
    show_status(running_target(), memory_of_containers())


def show_status(target: ComposeTarget, memory: Mapping[str, str] | None = None) -> list[str]:
    """Print a table of the services. Return the names of those that are not ready.

    `memory` has the memory of each container, by its id. Without it, the table has no such column.
    """
    target.look_again()
    containers, (reasons, in_rotation) = target.containers(), target.look()
    rows = [["service", "state", "since (UTC)", "memory", "image"]]
    for name, reason in reasons.items():
        words = reason or "ready"
        if name in INSTANCES and name not in in_rotation:
            words += ", out of rotation: `make restart`"
        rows.append([name, *status_columns(containers.get(name), words, memory or {})])
    if memory is None:
        rows = [[*row[:3], *row[4:]] for row in rows]
    table(rows)
    print(f"\n{address(target.published() or values())}  {maintenance_mode.notice(VAR)}".rstrip())
    return [name for name, reason in reasons.items() if reason]


def memory_of_containers() -> dict[str, str]:
    """Return the memory of each container of the engine, by its id. This takes two seconds."""
    lines = output("docker", "stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}").splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def address(settings: Mapping[str, str]) -> str:
    scheme = "https" if settings.get("TLS") == "on" else "http"
    return f"{scheme}://{bracketed(settings.get('ADDRESS', ''))}:{settings.get('PORT')}/"


def status_columns(
    container: dict[str, Any] | None, words: str, memory: Mapping[str, str]
) -> tuple[str, str, str, str]:
    if not container:
        return "no container", "-", "-", "-"
    state, image = container["State"], container["Config"]["Image"]
    if not state["Running"] or state["Restarting"] or state["Paused"]:
        return state["Status"], "-", "-", image
    began = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC)
    return words, f"{began:%d %b %H:%M:%S}", memory.get(container["Id"], "-"), image


def logs(options: argparse.Namespace) -> None:
    target = running_target()
    if options.app in APPS:
        services = [instance.name for instance in APPS[options.app].instances]
    else:
        # nginx writes the access log to its container's output.
        services = ["nginx" if options.app == "access" else options.app] if options.app else []
    follow_logs(target, services)


def follow_logs(target: ComposeTarget, services: list[str], lines: int = 20) -> None:
    """Print the logs of these services, or of all, until it is interrupted."""
    command = target.command("logs", "--follow", f"--tail={lines}", "--no-color", *services)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=target.environment) as follow:
        assert follow.stdout
        with contextlib.suppress(KeyboardInterrupt):
            for line in follow.stdout:
                # Compose writes a sequence that clears the line, also to a pipe.
                words = line.decode(errors="surrogateescape").removeprefix("\x1b[2K").rstrip("\n")
                name, _, text = words.partition(" | ")
                print(f"{printable(name.strip()):<11} {readable(text)}", flush=True)
                if is_output_lost():
                    break
        follow.terminate()


def manage(options: argparse.Namespace) -> None:
    """Become Django's manage.py in a container of its app."""
    app = django()
    assert app
    target = running_target()
    ready = (each.name for each in app.instances if not target.why_not_ready(each.name))
    service = next(ready, app.instances[0].name)
    terminal = [] if sys.stdin.isatty() else ["-T"]
    words = [*terminal, service, "python", app.manage, *split(options.arguments)]
    command = target.command("exec", *words)
    os.execvpe(command[0], command, target.environment)
