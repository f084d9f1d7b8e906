"""The command line of the deployment: `python3 -m deploy VERB …`, which the Makefile calls.

It runs on the system's own Python. What needs third-party packages is started again by .venv's Python.
"""

import argparse
import contextlib
import importlib
import itertools
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.__main__ import FLAGS
from deploy.core import maintenance_mode, owner, preflight
from deploy.core.apps import APPS, PROJECT, SERVICES, django
from deploy.core.console import Failed, guard_output, nothing_runs
from deploy.core.settings import ENV_FILE, VAR, certificate_faults, faults, make_directory, replace, setting
from deploy.targets.compose import target as compose

# Counts the signals that ask this process to end.
SIGNALS = itertools.count(1)
PYTHON = preflight.VENV / "bin/python"
TARGETS = ("native", "compose", "hosts")
# The target of the last `make up`.
CHOSEN = VAR / "target"
LOCAL = (
    *("up", "down", "restart", "status", "logs", "manage", "maintenance", "dev", "destroy", "push", "install"),
    *("backup", "restore", "restore-drill"),
)
HOSTS = ("provision", "deploy", "rollback", "drain", "switchover", "upgrade-hosts", "move-data", "fleet", "secrets")
# Verbs with a folder of their own, which may be left out. They look at every target, and also where nothing has run.
TOOLS = tuple(file.parent.name for file in PROJECT.glob("deploy/*/main.py"))


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("verb", choices=[*LOCAL, *HOSTS, *TOOLS])
    parser.add_argument("--target", default="", choices=["", *TARGETS])
    parser.add_argument("--inventory", default="", help="the hosts: a path, or a name in deploy/ansible/inventories")
    parser.add_argument("--app", default="", help="an app, an instance or nginx; empty for all apps")
    # In the environment, where make puts it: a shell would read its quotes.
    parser.add_argument("--arguments", default=os.environ.get("ARGS") or "help", help="the words after manage.py")
    parser.add_argument(
        "--group", default=[], nargs="*", action="extend", help="of install: groups of packages in pyproject.toml"
    )
    parser.add_argument("--ref", default="", help="of deploy: the commit to deploy")
    parser.add_argument("--release", default="", help="of rollback: the release to go back to")
    parser.add_argument("--batch", default="", help="hosts rolled at a time: a number, or a share such as 25%%")
    parser.add_argument("--host", default="", help="of drain")
    parser.add_argument("--source", default="", help="of move-data: the inventory that has the data")
    parser.add_argument(
        "--to", default="", help="of restore: a time in UTC such as '2026-11-29 12:00'; empty for the newest"
    )
    parser.add_argument("--origin", default="", help="of restore: another stack's name in BACKUP_URL")
    parser.add_argument("--state", default="", help="of maintenance: on or off")
    parser.add_argument("--watch", default="", help="of status: 1 shows the figures, and renews them each second")
    parser.add_argument("--force", default="", choices=["", "yes"])
    options = parser.parse_args(words)
    names = ["nginx", *APPS] if options.verb == "restart" else ["access", *APPS, *SERVICES]
    if options.app not in ("", *names):
        parser.error(f"APP is {options.app!r}: should be one of {', '.join(names)}, or empty")
    if options.verb == "maintenance" and options.state not in maintenance_mode.STATES:
        parser.error("say `make maintenance on` or `make maintenance off`")
    if not re.fullmatch(r"|[1-9]\d*%?", options.batch):
        parser.error(f"BATCH is {options.batch!r}: should be a number of hosts, or a share of them such as 25%")
    return options


def choose_target(options: argparse.Namespace) -> str:
    """Return the target that a command is for. Raises SystemExit with status 3 if nothing has run here yet."""
    if options.inventory or options.verb in HOSTS:
        return "hosts"
    if options.verb in ("up", "dev"):
        return choose_for_up(options.verb)
    if options.verb == "push":
        check_settings()
        return "compose"
    forced = forced_target()
    if options.verb in TOOLS:
        # A tool reports files that another user owns.
        with contextlib.suppress(OSError):
            return forced or chosen_target() or why_target()[0]
        return why_target()[0]
    return forced or chosen_target() or nothing_runs("Nothing has run here yet")


def chosen_target() -> str:
    """Return the target of the last `make up`; empty before the first."""
    with contextlib.suppress(FileNotFoundError):
        chosen = CHOSEN.read_text().strip()
        return chosen if chosen in TARGETS else ""
    return ""


def forced_target() -> str:
    forced = os.environ.get("STACK", "")
    if forced not in ("", "compose", "native"):
        raise Failed(f"STACK is {forced!r}: should be compose or native, or empty for the one that works here")
    return forced


def why_target() -> tuple[str, str]:
    """Return the target of `make up`, and why."""
    if forced := forced_target():
        return forced, "STACK says so"
    if preflight.is_up():
        return "native", "it is running"
    versions, why = compose.engine()
    return "compose" if versions else "native", why


def check_settings() -> None:
    if found := faults() or certificate_faults():
        raise Failed("\n✗ ".join([*found, f".env.example explains each. Fix it in {ENV_FILE} or in the environment"]))


def choose_for_up(verb: str) -> str:
    """Choose the target, check the settings, and make sure that the machine has what it needs."""
    target, why = why_target()
    print(f"Stack: {target} ({why})", flush=True)
    check_settings()
    if target == "compose":
        target = prepare_compose()
    if target == "native":
        preflight.check_machine()
        owner.act_as_owner_of_project()
        # Work on the code needs the tests, the linters and Django's debug toolbar.
        traces = ["otel"] if setting("OTEL_EXPORTER_OTLP_ENDPOINT") else []
        preflight.install(["dev"] if verb == "dev" else traces)
    make_directory(VAR)
    replace(CHOSEN, target)
    return target


def prepare_compose() -> str:
    """Get the images. If they cannot be had, and nobody insists on containers, return `native` instead."""
    running = compose.is_running()
    try:
        compose.check_machine(running)
    except Failed as failed:
        # A server that runs images of a registry has no others to fall back on.
        if forced_target() or running or setting("IMAGE"):
            raise
        print(f"  ✗ {failed}\nStack: native (the images for compose can be neither pulled nor built)", flush=True)
        return "native"
    return "compose"


def use_packages(options: argparse.Namespace) -> None:
    """Start again with .venv's Python, which has the packages, if the command needs them."""
    groups = [*(["hosts"] if options.target == "hosts" else []), *(["watch"] if options.watch else [])]
    needed = bool(groups) or options.verb in TOOLS
    if groups:
        preflight.install(groups, quiet=True)
    if needed and Path(sys.executable) != PYTHON and preflight.suitable(str(PYTHON)):
        os.execv(PYTHON, [str(PYTHON), *FLAGS, "-m", "deploy", *sys.argv[1:], f"--target={options.target}"])


def run(options: argparse.Namespace) -> None:
    if options.verb == "install":
        preflight.install(options.group)
        return
    options.target = options.target or choose_target(options)
    use_packages(options)
    if options.verb == "manage" and not django():
        raise Failed("No app in deploy/apps.toml has a manage.py")
    if options.watch:
        importlib.import_module("deploy.watch").watch(options)
    elif options.verb in TOOLS:
        importlib.import_module(f"deploy.{options.verb}.main").main(options)
    else:
        commands = importlib.import_module(f"deploy.targets.{options.target}.commands")
        getattr(commands, options.verb.replace("-", "_"))(options)


def interrupt(number: int, _: object) -> None:
    """Clean up and end at the first signal. Ignore the second, which make sends by itself. A third kills."""
    match next(SIGNALS):
        case 1:
            raise KeyboardInterrupt
        case 2:
            return
        case _:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def main() -> None:
    guard_output()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    # Data, logs and sockets are for their owner only.
    os.umask(0o077)
    try:
        run(parse(sys.argv[1:]))
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except PermissionError as error:
        raise SystemExit(
            f"\n✗ {describe(error)}. Run this as the user who first ran it, or change the owner."
        ) from None
    except OSError as error:
        raise SystemExit(f"\n✗ {describe(error)}. `make doctor` looks for the cause.") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted. Run the same command to continue, or `make down` to stop what runs.") from None


def describe(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
