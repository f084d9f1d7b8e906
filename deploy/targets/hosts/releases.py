"""The releases on this host, and commands in the directory of one."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from deploy.core.apps import App
from deploy.core.console import Failed, readable

from .system import CURRENT, RELEASES
from .units import remove_unregistered

PYTHON = ".venv/bin/python"


def current() -> str:
    """Return the name of the current release; empty before the first."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def releases() -> list[dict[str, str]]:
    """Return the manifests (release.py) of the complete releases, oldest first."""
    found = [json.loads(file.read_text()) for file in RELEASES.glob("*/RELEASE.json")]
    return sorted(found, key=lambda manifest: manifest["name"])


def switch(name: str) -> str | None:
    """Make another release the current one, in one step. Return a line about it if it was not."""
    if current() == name:
        return None
    fresh = CURRENT.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(RELEASES / name)
    fresh.replace(CURRENT)
    return f"{name} is current"


def in_use() -> set[str]:
    """Return the releases in which a process works: a draining instance, or supervisord, which outlives releases."""
    found = {current()}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            works = (process / "cwd").resolve(strict=True)
            if works.is_relative_to(RELEASES) and works != RELEASES:
                found.add(works.relative_to(RELEASES).parts[0])
    return found


def prune(keep: str) -> str:
    """Delete incomplete releases, and all but the newest `keep`. Stop what left the registry. Return the names."""
    complete = [manifest["name"] for manifest in releases()]
    kept = {*complete[-int(keep) :], *in_use()}
    gone = [path for path in sorted(RELEASES.iterdir()) if path.name not in kept]
    for path in gone:
        shutil.rmtree(path)
    return " ".join([*(path.name for path in gone), *remove_unregistered()])


def discard(name: str) -> None:
    """Delete a release whose deploy failed."""
    if name not in in_use():
        shutil.rmtree(RELEASES / name, ignore_errors=True)


def as_app(name: str, *command: str, **variables: str) -> str:
    """Run a command in a release's directory, with the apps' user and environment. Return its output.

    Raises Failed with the output.
    """
    done = subprocess.run(
        command,
        cwd=RELEASES / name,
        env=os.environ | variables,
        user="app",
        group="app",
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(map(readable, done.stdout.strip().splitlines()))
        raise Failed(f"{name}: {' '.join(command[:4])} failed:\n\n{said}")
    return done.stdout.strip()


def identity(app: App) -> dict[str, str]:
    """Return the variables by which a process belongs to an app, as its first instance."""
    return {"APP": app.name, "INSTANCE": app.instances[0].name}


def prepare(name: str, app: App) -> None:
    """Run what a release needs once before its instances start, for example migrations."""
    for what, command in app.prepare.items():
        as_app(name, PYTHON, *command.split(), **identity(app))
        print(f"  ✓ {what}", flush=True)


def schema(name: str, app: App) -> str:
    """Return the schema that a release's Django app expects, beside the database's, as JSON (schema.py)."""
    return as_app(name, PYTHON, "deploy/targets/hosts/schema.py", str(Path(app.manage).parent), **identity(app))


def manage_at_terminal(name: str, app: App, *arguments: str) -> None:
    """Run Django's manage.py at the terminal of this process."""
    command = [PYTHON, app.manage, *arguments]
    account: dict[str, Any] = {"user": "app", "group": "app", "extra_groups": []}
    done = subprocess.run(command, cwd=RELEASES / name, env=os.environ | identity(app), check=False, **account)
    if done.returncode:
        raise SystemExit(done.returncode)
