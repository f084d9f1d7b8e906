"""The layout of a host, and its part of the stack. Standard library only: a host of the group edge has no packages."""

import os
from pathlib import Path

from deploy.core.apps import APPS, App, Instance
from deploy.core.settings import parse

ROOT = Path("/srv/app")
# CURRENT is a link to a directory in RELEASES.
RELEASES, CURRENT, VAR = ROOT / "releases", ROOT / "current", ROOT / "var"
RUN = VAR / "run"
# The releases that became current, one a line: a deploy adds one, and a rollback drops those after its own.
HISTORY = ROOT / "history"
# Held during a roll, which goes on to its end even if its controller dies.
LOCK = Path("/run/app-roll.lock")
# Provision writes these, and instances read them when they start.
ENVIRONMENT, SECRETS = ROOT / "environment", ROOT / "secrets"


def read_environment() -> None:
    """Add this host's settings to the environment of this process."""
    if ENVIRONMENT.exists():
        os.environ.update(parse(ENVIRONMENT.read_text()))


def current() -> str:
    """Return the name of the current release; empty before the first."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def history() -> list[str]:
    """Return the releases that were current, the current one last. Their names have the times of controllers."""
    return HISTORY.read_text().split() if HISTORY.exists() else [name for name in [current()] if name]


def remember(name: str) -> None:
    """Record that a release became current."""
    known = history()
    known = known[: known.index(name) + 1] if name in known else [*known, name]
    fresh = HISTORY.with_name("history.new")
    fresh.write_text("".join(f"{each}\n" for each in known))
    fresh.replace(HISTORY)


def release_of(pid: int | str) -> str:
    """Return the name of the release in whose directory a process works; empty if there is none."""
    try:
        works = Path(f"/proc/{pid}/cwd").resolve(strict=True)
    except OSError:
        return ""
    return works.relative_to(RELEASES).parts[0] if RELEASES in works.parents else ""


def groups() -> list[str]:
    """Return the inventory's groups that this host is in, except `data`, which has no settings."""
    return os.environ.get("GROUPS", "").split()


def apps_here() -> list[App]:
    return [app for app in APPS.values() if app.name in groups()]


def instances_here() -> list[Instance]:
    return [instance for app in apps_here() for instance in app.instances]
