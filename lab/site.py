"""The data that every mode serves: the site's own database, migrated and seeded, and its static files."""

import functools
import os
import shutil
from pathlib import Path
from typing import Any

from deploy.cores import cores
from deploy.env import SECRETS
from deploy.native.stack import manage

# As root, who the servers are instead: Apache refuses to be root, and nothing here needs it.
AS: dict[str, Any] = {"user": "www-data", "group": "www-data", "extra_groups": []} if os.geteuid() == 0 else {}


def hand_over(directory: Path) -> None:
    """To who the servers are."""
    if AS:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path.resolve(), AS["user"], AS["group"])


@functools.cache
def variables(var: Path) -> dict[str, str]:
    """The settings of both apps, as `make up` gives them by default; the secrets are of this run."""
    return {
        **{name: SECRETS[name]() for name in ("SECRET_KEY", "TOKEN_KEYS")},
        "VAR_DIR": str(var),
        "DATABASE_URL": f"sqlite:///{var}/db.sqlite3",
        "REDIS_URL": "",
        "ALLOWED_HOSTS": "127.0.0.1",
        "TLS": "off",
        "DEBUG": "off",
        "DEBUG_UPSTREAM": "off",
        "LOG_LEVEL": "INFO",
        "INSTANCE": "a",
        "CORES": str(cores()),
    }


def prepare(var: Path) -> None:
    """Makes them in `var`, once. Raises Failed."""
    for directory in ("static", "media"):
        (var / directory).mkdir(parents=True, exist_ok=True)
    hand_over(var)
    for command in ("migrate --no-input", "createcachetable", "collectstatic --no-input", "seed"):
        manage(variables(var), *command.split(), **AS)


def lay_out(directory: Path, var: Path) -> None:
    """Makes a VAR_DIR in which one mode runs, and nothing of another is."""
    for name in ("run", "log", "tmp"):
        (directory / name).mkdir(parents=True)
    for name in ("static", "media"):
        (directory / name).symlink_to(var / name)
