"""Check a release before it becomes current: each server reads its own files, and the apps are imported."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.core.apps import App
from deploy.core.console import Failed

from .releases import PYTHON, as_app, identity
from .system import RELEASES, apps_here, groups
from .units import programs_here

SUPERVISOR_OPTIONS = """
from pathlib import Path
import os
from supervisor.options import ServerOptions
from deploy.targets.hosts.units import programs_here
from deploy.core.supervisor import write_programs
write_programs(Path(os.environ["VAR_DIR"]), programs_here())
options = ServerOptions()
options.realize(["-c", "deploy/supervisor/supervisord.conf"])
"""


def check(name: str) -> None:
    """Raises Failed with the reason if a release cannot run on this host."""
    with scratch_directory() as scratch:
        for app in apps_here():
            check_app(name, app, scratch)
        if programs_here():
            as_app(name, PYTHON, "-c", SUPERVISOR_OPTIONS, VAR_DIR=scratch, SUPERVISOR_LOG_SIZE="10MB")
        if "edge" in groups():
            check_nginx(name, scratch)


@contextmanager
def scratch_directory() -> Iterator[str]:
    """Yield a directory for run-time files, of the apps' user."""
    with tempfile.TemporaryDirectory() as scratch:
        for directory in ("run", "log", "tmp", "supervisor", "static", "media"):
            (Path(scratch) / directory).mkdir()
        for path in (Path(scratch), *Path(scratch).iterdir()):
            shutil.chown(path, "app", "app")
        yield scratch


def check_app(name: str, app: App, scratch: str) -> None:
    own = identity(app) | {"VAR_DIR": scratch, "BIND": ""}
    if app.manage:
        as_app(name, PYTHON, app.manage, "check", "--deploy", "--fail-level=WARNING", **own)
    if command := app.server.check_command(app.name):
        as_app(name, *command, **own)


def check_nginx(name: str, scratch: str) -> None:
    nginx = subprocess.run(
        [sys.executable, "-m", "deploy.core.nginx", "check"],
        cwd=RELEASES / name,
        env=os.environ | {"VAR_DIR": scratch},
        capture_output=True,
        text=True,
        check=False,
    )
    if nginx.returncode:
        raise Failed(f"{name}: {nginx.stderr}")
