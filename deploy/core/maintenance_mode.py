"""Maintenance: nginx answers visitors with 503 while a file exists, and needs no reload. Standard library only.

The directory VAR_DIR/maintenance has the file `on`, which has the key for staff in it, and a file whose name is the key
(nginx/snippets/maintenance.conf).
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from deploy.core.apps import APPS
from deploy.core.settings import VAR, make_directory, replace

STATES = ("on", "off")


def prepare(var: Path) -> Path:
    """Make the directory, which nginx's user may enter. Return it."""
    directory = var / "maintenance"
    make_directory(directory)
    directory.chmod(0o755)
    return directory


def key_of(var: Path) -> str:
    """Return the key with which staff are served during maintenance; empty while it is off."""
    on = var / "maintenance/on"
    return on.read_text() if on.exists() else ""


def switch(var: Path, state: str, key: str = "") -> str:
    """Begin maintenance (`on`) or end it (`off`). Return the key: `key`, else the existing one, else a new one."""
    directory, key = prepare(var), key or key_of(var) or secrets.token_hex(16)
    if state == "on":
        replace(directory / key, "")
        replace(directory / "on", key)
    else:
        for file in directory.iterdir():
            file.unlink()
    return key


def announce(state: str, key: str, address: str) -> None:
    if state == "off":
        print("Maintenance is off: visitors are served.", flush=True)
        return
    print(
        f"Maintenance is on: visitors get 503. This link lets you in:\n\n  {address}?maintenance={key}\n\n"
        "`make maintenance off` ends it. The apps tell clients with open connections to come back later.",
        flush=True,
    )


def run(state: str, address: str, restart: Callable[[str], None]) -> None:
    """Begin or end maintenance on this machine. `restart` restarts an app, which tells its watchers to leave."""
    announce(state, switch(VAR, state), address)
    for name in with_watchers() if state == "on" else []:
        restart(name)


def with_watchers() -> list[str]:
    return [app.name for app in APPS.values() if app.server.holds_watchers]


def notice(var: Path) -> str:
    """Return a line for `make status` during maintenance; else nothing."""
    return "Maintenance is on: visitors get 503. `make maintenance off` ends it." if key_of(var) else ""
