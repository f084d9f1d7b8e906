"""The settings' file, and the variables in it. Nothing but the standard library: it comes before what is installed."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
VAR = Path(os.environ.get("VAR_DIR", PROJECT / "var")).resolve()
ENV_FILE = Path(os.environ.get("ENV_FILE", PROJECT / ".env")).resolve()
EXAMPLE = PROJECT / ".env.example"

# 48 random bytes are 64 characters; Django wants 50, PyJWT 32.
SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "TOKEN_KEYS": lambda: f"first:{secrets.token_urlsafe(48)}",
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "REDIS_PASSWORD": lambda: secrets.token_urlsafe(24),
}


def make_env_file() -> bool:
    """.env with fresh secrets, or with those that it lacks; True if any was made. Only its owner may read it."""
    known = ENV_FILE.exists()
    text = before = (ENV_FILE if known else EXAMPLE).read_text()
    for name, make in SECRETS.items():
        if not known:
            text = text.replace(f"\n{name}=\n", f"\n{name}={make()}\n")
        elif f"\n{name}=" not in text:
            text += f"{name}={make()}\n"
    if text == before:
        return False
    # Whole or not at all: half a file would be taken for a finished one next time.
    fresh = ENV_FILE.with_name(ENV_FILE.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(ENV_FILE)
    return True


def setting(name: str) -> str:
    """A variable as the stack will read it: from the environment, .env, or .env.example, whose values are defaults."""
    if name in os.environ:
        return os.environ[name]
    for file in (ENV_FILE, EXAMPLE):
        found = re.search(rf"^{name}=(.*)$", file.read_text() if file.exists() else "", re.M)
        if found:
            return found[1].strip("'\"")
    return ""


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """A second `make up` or `down` waits for the first."""
    VAR.mkdir(parents=True, exist_ok=True)
    with (VAR / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
