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

# What the deployment itself reads, and what each looks like; the applications check theirs.
SHAPES = {
    "ALLOWED_HOSTS": (r".+", "host names, separated by commas"),
    "TLS": (r"on|off", "on or off"),
    "DEBUG_UPSTREAM": (r"on|off", "on or off"),
    "CORES": (r"|[1-9]\d*", "a whole number from 1 up, or empty"),
    "CPUS": (r"\d+(\.\d+)?", "a number of cores, as 1.5; 0 is all"),
    "MEMORY": (r"[1-9]\d*[mg]", "an amount of memory, as 512m or 2g"),
    "APP_UID": (r"[1-9]\d*", "a user by number, other than 0"),
}


def faults() -> list[str]:
    """A line for each of the deployment's own settings that is malformed."""
    found = [
        f"{name} is {setting(name)!r}: it should be {words}"
        for name, (shape, words) in SHAPES.items()
        if not re.fullmatch(shape, setting(name))
    ]
    for name in ("PORT", "PLAIN_PORT"):
        if not (setting(name).isdecimal() and 1024 <= int(setting(name)) <= 65535):
            found.append(f"{name} is {setting(name)!r}: it should be a number from 1024 to 65535")
    if setting("TLS") == "on":
        found += [
            f"{name} is {setting(name)!r}: there is no such file"
            for name in ("TLS_CERTIFICATE", "TLS_KEY")
            if not Path(setting(name)).is_file()
        ]
    return found


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
