"""The releases on this host: commands in the directory of one, and its check before it becomes current."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.core.apps import APPS, App
from deploy.core.console import Failed, ok, run

from .system import CURRENT, RELEASES, ROOT, apps_here, current, groups, history, release_of, remember
from .target import programs_here, remove_unregistered

PYTHON = ".venv/bin/python"
# subprocess's options to be the apps' user.
APP_USER: dict[str, Any] = {"user": "app", "group": "app", "extra_groups": ()}
SUPERVISOR_OPTIONS = """
from pathlib import Path
import os
from supervisor.options import ServerOptions
from deploy.targets.hosts.target import programs_here
from deploy.core.supervisor import write_programs
write_programs(Path(os.environ["VAR_DIR"]), programs_here())
options = ServerOptions()
options.realize(["-c", "deploy/supervisor/supervisord.conf"])
"""


def releases() -> list[dict[str, str]]:
    """Return the manifests of the complete releases, oldest first, by this host's clock: when each was complete."""
    files = sorted(RELEASES.glob("*/RELEASE.json"), key=lambda file: file.stat().st_ctime_ns)
    return [json.loads(file.read_text()) for file in files]


def switch(name: str) -> str | None:
    """Make another release the current one, in one step. Return a line about it if it was not."""
    if current() == name:
        return None
    remember(name)
    fresh = CURRENT.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(RELEASES / name)
    fresh.replace(CURRENT)
    if os.environ.get("METRICS_PORT"):
        run("systemctl", "restart", "--no-block", "tandem-metrics")
    return f"{name} is current"


def in_use() -> set[str]:
    """Return the releases in which a process works: a draining instance, or supervisord, which outlives releases."""
    return {current(), *(release_of(process.name) for process in Path("/proc").glob("[0-9]*"))}


def prune(keep: str) -> str:
    """Delete incomplete releases, and all but the newest `keep`. Stop what left the registry. Return the names."""
    complete = [manifest["name"] for manifest in releases()]
    # The previous one too, which may be older than others that were rolled back.
    kept = {*complete[-int(keep) :], *history()[-2:], *in_use()}
    gone = [path for path in sorted(RELEASES.iterdir()) if path.name not in kept]
    for path in gone:
        shutil.rmtree(path)
    return " ".join([*(path.name for path in gone), *remove_unregistered()])


def discard(name: str) -> None:
    """Delete a release whose deploy failed."""
    if name not in in_use():
        shutil.rmtree(RELEASES / name, ignore_errors=True)


def run_in(name: str, *command: str, variables: dict[str, str], **options: Any) -> str:
    """Run a command in a release's directory. Return its output. Raises Failed with it."""
    try:
        return run(*command, cwd=RELEASES / name, env=os.environ | variables, **options)
    except Failed as failed:
        raise Failed(f"{name}: {failed}") from None


def as_app(name: str, *command: str, **variables: str) -> str:
    """Do the same with the apps' user and environment."""
    return run_in(name, *command, variables=variables, **APP_USER)


def identity(app: App) -> dict[str, str]:
    """Return the variables by which a process belongs to an app, as its first instance."""
    # Not root's home, which is closed to the user: libpq looks for certificates in it.
    return {"APP": app.name, "INSTANCE": app.instances[0].name, "HOME": str(ROOT)}


def prepare(name: str, app: str) -> None:
    """Run what a release needs once before an app's instances start, for example migrations."""
    for what, command in APPS[app].prepare.items():
        as_app(name, PYTHON, *command.split(), **identity(APPS[app]))
        ok(what)


def schema(name: str, app: str) -> str:
    """Return the schema that a release's app expects, beside the database's, as JSON."""
    file = f"deploy/ansible/apps/{app}/schema.py"
    return as_app(name, PYTHON, file, str(Path(APPS[app].manage).parent), **identity(APPS[app]))


def check(name: str) -> None:
    """Let each server read its own files, and import the apps. Raises Failed if the release cannot run here."""
    with scratch_directory() as scratch:
        for app in apps_here():
            own = identity(app) | {"VAR_DIR": scratch, "BIND": ""}
            if app.manage:
                as_app(name, PYTHON, app.manage, "check", "--deploy", "--fail-level=WARNING", **own)
            if command := app.server.check_command(app.name):
                as_app(name, *command, **own)
        if programs_here():
            as_app(name, PYTHON, "-c", SUPERVISOR_OPTIONS, VAR_DIR=scratch, SUPERVISOR_LOG_SIZE="10MB")
        if "edge" in groups():
            run_in(name, sys.executable, "-m", "deploy.core.nginx", "check", variables={"VAR_DIR": scratch})


@contextlib.contextmanager
def scratch_directory() -> Iterator[str]:
    """Yield a directory for run-time files, of the apps' user."""
    with tempfile.TemporaryDirectory() as scratch:
        for directory in ("run", "log", "tmp", "supervisor", "static", "media"):
            (Path(scratch) / directory).mkdir()
        for path in (Path(scratch), *Path(scratch).iterdir()):
            shutil.chown(path, "app", "app")
        yield scratch
