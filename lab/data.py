"""The data that every mode serves: the site's database, migrated and seeded, and its static files."""

import functools
import os
import shutil
from pathlib import Path
from typing import Any

from deploy.core.apps import APPS
from deploy.core.cores import cores
from deploy.core.settings import COMPOSE_ONLY, EXAMPLE, SECRETS, parse
from deploy.targets.native.target import run_python

# When the lab runs as root, the servers run as www-data: Apache refuses to run as root, and no mode needs it.
RUN_AS: dict[str, Any] = {"user": "www-data", "group": "www-data", "extra_groups": []} if os.geteuid() == 0 else {}


def give_to_servers(directory: Path) -> None:
    """Change the owner of `directory` and its contents to the user of the servers."""
    if RUN_AS:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path.resolve(), RUN_AS["user"], RUN_AS["group"])


@functools.cache
def settings(var: Path) -> dict[str, str]:
    """Return the settings of `make up`: the defaults of .env.example, with secrets generated for this run."""
    defaults = {name: value for name, value in parse(EXAMPLE.read_text()).items() if name not in COMPOSE_ONLY}
    secrets = {name: make() for name, make in SECRETS.items() if name in defaults}
    return {
        **defaults,
        **secrets,
        "VAR_DIR": str(var),
        "DATABASE_URL": f"sqlite:///{var}/db.sqlite3",
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "off",
        "CORES": str(cores()),
    }


def prepare(var: Path) -> None:
    """Create the database and the static files in `var`, or bring them up to date. Raises Failed."""
    for directory in ("static", "media"):
        (var / directory).mkdir(parents=True, exist_ok=True)
    give_to_servers(var)
    for app in APPS.values():
        for command in filter(None, (*app.prepare.values(), app.seed)):
            run_python(settings(var), *command.split(), **RUN_AS)


def make_var(directory: Path, var: Path) -> None:
    """Create a VAR_DIR for one mode in `directory`. It shares the files that `prepare` put into `var`."""
    for name in ("run", "log", "tmp"):
        (directory / name).mkdir(parents=True)
    for name in ("static", "media"):
        (directory / name).symlink_to(var / name)
