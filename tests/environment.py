"""The variables that the apps need in tests. Their secrets are made for each run."""

import secrets
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def environment(var: str) -> dict[str, str]:
    """Return the variables of `make up` on SQLite without Redis. `var` is the directory for run-time files."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "TOKEN_KEYS": f"test:{secrets.token_urlsafe(48)}",
        "VAR_DIR": var,
        "DATABASE_URL": f"sqlite:///{var}/db.sqlite3",
        "REDIS_URL": "",
        "INSTANCE": "site-a",
        "UPLOAD_LIMIT_MB": "6",
        "BIND": "",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    }


def runs_tests(config: pytest.Config) -> bool:
    """Return whether this process runs tests. With -n of pytest-xdist, its workers do, each with its own database."""
    return hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
