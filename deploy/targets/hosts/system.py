"""The layout of a host, and commands on it. Standard library only: a host of the group edge has no Python packages."""

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.core.apps import APPS, App, Instance
from deploy.core.console import Failed
from deploy.core.settings import parse

ROOT = Path("/srv/app")
# CURRENT is a link to a directory in RELEASES.
RELEASES, CURRENT, VAR = ROOT / "releases", ROOT / "current", ROOT / "var"
RUN = VAR / "run"
# Provision writes these, and instances read them when they start.
ENVIRONMENT, SECRETS = ROOT / "environment", ROOT / "secrets"


def read_environment() -> None:
    """Add this host's settings to the environment of this process."""
    if ENVIRONMENT.exists():
        os.environ.update(parse(ENVIRONMENT.read_text()))


def groups() -> list[str]:
    """Return the inventory's groups that this host is in, except `data`, which has no settings."""
    return os.environ.get("GROUPS", "").split()


def apps_here() -> list[App]:
    return [app for app in APPS.values() if app.name in groups()]


def instances_here() -> list[Instance]:
    return [instance for app in apps_here() for instance in app.instances]


def run(*command: str) -> None:
    """Raises Failed, with the command's output, if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} failed:\n{done.stdout}")


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def wait_until(condition: Callable[[], object], otherwise: str) -> None:
    """Return when the condition is true. Raises Failed after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(otherwise)
        time.sleep(0.1)


@contextlib.contextmanager
def one_roll_at_a_time() -> Iterator[None]:
    """Wait for another roll on this host. A roll goes on to its end even if its controller dies."""
    with Path("/run/app-roll.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
