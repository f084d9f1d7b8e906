"""The variables that the applications need, of no value outside the tests; their secrets are made for each run."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def environment(var: str) -> dict[str, str]:
    """What `make up` would give, on SQLite and without Redis; `var` is the directory for run-time files."""
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "TOKEN_KEYS": f"test:{secrets.token_urlsafe(48)}",
        "VAR_DIR": var,
        "DATABASE_URL": f"sqlite:///{var}/db.sqlite3",
        "REDIS_URL": "",
        "INSTANCE": "site-a",
        "UPLOAD_LIMIT_MB": "6",
        "API_BIND": f"unix:{var}/run/api-{{instance}}-{{slot}}.sock",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    }


def manage(*command: str, **variables: str) -> None:
    """Runs the site's manage.py with these, and what is set."""
    subprocess.run(
        [sys.executable, "django_site/manage.py", *command], cwd=PROJECT, env=os.environ | variables, check=True
    )
