"""The settings of the stack on this machine: from .env and the environment, checked, and what each part gets."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from dotenv import dotenv_values, load_dotenv, set_key
from environs import Env, EnvValidationError, validate

from deploy.cores import cores

PROJECT = Path(__file__).resolve().parents[2]
VAR = Path(os.environ.get("VAR_DIR", PROJECT / "var")).resolve()
ENV_FILE = Path(os.environ.get("ENV_FILE", PROJECT / ".env"))

# What no application reads: a change of these is a reload of nginx and nothing more.
NGINX_ONLY = {"ADDRESS", "PORT", "LISTEN", "LISTEN_PLAIN", "PLAIN_PORT", "SERVER_NAMES", "DEBUG_UPSTREAM"}
NGINX_ONLY |= {"TLS_CERTIFICATE", "TLS_KEY"}

# 48 random bytes are 64 characters; Django wants 50, PyJWT 32.
SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "TOKEN_KEYS": lambda: f"first:{secrets.token_urlsafe(48)}",
}


def make_env_file() -> bool:
    """.env with fresh secrets, if there is none; True if it was made. Only its owner may read it."""
    if ENV_FILE.exists():
        return False
    # Whole or not at all: half a file would be taken for a finished one next time.
    fresh = ENV_FILE.with_name(ENV_FILE.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text((PROJECT / ".env.example").read_text())
    for name, make in SECRETS.items():
        set_key(fresh, name, make(), quote_mode="never")
    fresh.rename(ENV_FILE)
    return True


def read() -> dict[str, str]:
    """The variables of .env.example: from the environment, or .env, or that file itself; and what follows from them.

    Stops the program with a line for each of nginx's own that is malformed; the applications check theirs.
    """
    load_dotenv(ENV_FILE)
    load_dotenv(PROJECT / ".env.example")
    env = Env(eager=False)
    port_range = validate.Range(1024, 65535)
    on_or_off = validate.OneOf(["on", "off"])
    address, port = env.str("ADDRESS"), env.int("PORT", validate=port_range)
    hosts: list[str] = env.list("ALLOWED_HOSTS", validate=validate.Length(min=1))
    tls = env.str("TLS", validate=on_or_off)
    env.str("DEBUG_UPSTREAM", validate=on_or_off)
    if tls == "on":
        plain_port = env.int("PLAIN_PORT", validate=port_range)
        for file in ("TLS_CERTIFICATE", "TLS_KEY"):
            env.path(file, validate=lambda path: path.is_file())
    try:
        env.seal()
    except EnvValidationError as error:
        lines = [f"{name}: {' '.join(faults)}" for name, faults in error.error_messages.items()]  # type: ignore[union-attr]
        raise SystemExit("\n".join([*lines, f"Each is explained in .env.example; mend it in {ENV_FILE}."])) from None
    return {name: os.environ.get(name, "") for name in dotenv_values(PROJECT / ".env.example")} | {
        "VAR_DIR": str(VAR),
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{VAR}/db.sqlite3",
        "CORES": str(cores()),
        "LISTEN": f"{address}:{port}",
        "LISTEN_PLAIN": f"{address}:{plain_port}" if tls == "on" else "",
        "SERVER_NAMES": " ".join(hosts),
        "API_BIND": f"unix:{VAR}/run/api-{{instance}}-{{slot}}.sock",
    }
