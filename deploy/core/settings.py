"""The settings: .env, what each app gets of it, and ${WORDS} in configuration files. Standard library only."""

import contextlib
import fcntl
import os
import re
import secrets
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deploy.core.apps import PROJECT as PROJECT
from deploy.core.apps import App

VAR = Path(os.environ.get("VAR_DIR", PROJECT / "var")).resolve()
ENV_FILE = Path(os.environ.get("ENV_FILE", PROJECT / ".env")).resolve()
EXAMPLE = PROJECT / ".env.example"

# `make up` makes these. 48 random bytes are 64 characters; Django wants 50, PyJWT 32.
SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "TOKEN_KEYS": lambda: f"first:{secrets.token_urlsafe(48)}",
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "REDIS_PASSWORD": lambda: secrets.token_urlsafe(24),
}
# Settings whose names end so are secrets: containers and hosts get them as files, named by NAME_FILE.
SECRET_NAMES = re.compile(r".*_(KEY|KEYS|PASSWORD|SECRET|URL|TOKEN|DSN)")
# No app reads these. A change of NGINX_ONLY reloads nginx and restarts nothing.
LISTENS = ("ADDRESS", "PORT", "LISTEN", "LISTEN_PLAIN", "PLAIN_PORT", "TLS_CERTIFICATE", "TLS_KEY")
NGINX_ONLY = frozenset((*LISTENS, "ADMIN_NETWORKS", "DEBUG_UPSTREAM", "LIVE_PER_ADDRESS"))
COMPOSE_ONLY = frozenset(("POSTGRES_PASSWORD", "REDIS_PASSWORD", "CPUS", "MEMORY", "APP_UID"))

# The settings that the deployment itself reads: a pattern, and the same in words. The apps check theirs.
SHAPES = {
    "ALLOWED_HOSTS": (r".+", "host names, separated by commas"),
    "TLS": (r"on|off", "on or off"),
    "DEBUG_UPSTREAM": (r"on|off", "on or off"),
    "CORES": (r"|[1-9]\d*", "a whole number from 1, or empty"),
    "CPUS": (r"\d+(\.\d+)?", "a number of cores, for example 1.5; 0 for all"),
    "MEMORY": (r"[1-9]\d*[mg]", "an amount of memory, for example 512m or 2g"),
    "APP_UID": (r"[1-9]\d*", "the number of a user, other than 0"),
    "TRUSTED_PROXIES": (r"[\da-fA-F.:/, ]*", "networks, separated by commas, for example 10.0.0.0/8; or empty"),
    "ADMIN_NETWORKS": (r"[\da-fA-F.:/, ]*", "networks, separated by commas, for example 10.0.0.0/8; or empty"),
    "LIVE_PER_ADDRESS": (r"|[1-9]\d{0,4}", "a whole number from 1 to 99999"),
    "UPLOAD_LIMIT_MB": (r"[1-9]\d{0,2}", "a number of megabytes from 1 to 999"),
}

# A line of a settings file, read as python-dotenv and Docker Compose do: quotes, and a comment after a space.
LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)=[ \t]*"""
    r"""(?P<value>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[^\n]*?)[ \t\r]*(?:(?<=\s)\#.*)?$""",
    re.M,
)


def parse(text: str) -> dict[str, str]:
    """Return the variables of a settings file: NAME=value lines, the value in quotes or not. The last line wins."""
    return {match["name"]: unquote(match["value"]) for match in LINE.finditer(text)}


def unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return re.sub(r"\\([\\'\"])", r"\1", value[1:-1]) if quoted else value


def quote(value: str) -> str:
    """Return a value as a settings file has it, whatever is in it but a line's end."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def values() -> dict[str, str]:
    """Return every setting: from the environment, else .env, else .env.example, whose values are the defaults."""
    known: dict[str, str] = {}
    for file in (EXAMPLE, ENV_FILE):
        known |= parse(file.read_text()) if file.exists() else {}
    return {name: os.environ.get(name, value) for name, value in known.items()}


def setting(name: str) -> str:
    """Return one setting; empty if it is not in .env.example, .env or the environment."""
    return os.environ.get(name, values().get(name, ""))


def is_secret(name: str) -> bool:
    return bool(SECRET_NAMES.fullmatch(name)) and name not in NGINX_ONLY


def of_app(app: App, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an app gets: all but nginx's, compose's, and those that the registry leaves out."""
    left_out = NGINX_ONLY | COMPOSE_ONLY | set(app.without)
    return {name: value for name, value in variables.items() if name not in left_out}


class Words(string.Template):
    """Only ${WORDS} in capitals are filled in. nginx's own $variables stay as they are."""

    pattern = r"\$\{(?P<braced>[A-Z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]


def faults() -> list[str]:
    """Return one line for each of the deployment's own settings that is malformed."""
    found = [
        f"{name} is {setting(name)!r}: should be {words}"
        for name, (shape, words) in SHAPES.items()
        if not re.fullmatch(shape, setting(name))
    ]
    # supervisord, uWSGI and nginx split their files at blanks.
    found += [
        f"The path {path} should be letters, digits, and . _ - + @ alone"
        for path in (PROJECT, VAR)
        if not re.fullmatch(r"[\w./+@-]+", str(path))
    ]
    for name in ("PORT", "PLAIN_PORT"):
        if not (setting(name).isdecimal() and 1024 <= int(setting(name)) <= 65535):
            found.append(f"{name} is {setting(name)!r}: should be a number from 1024 to 65535")
    if (debug := setting("DEBUG")) not in ("", "off"):
        found.append(f"DEBUG is {debug!r}: remove it, and use `make dev`, which shows debug pages")
    if setting("TLS") == "on":
        found += [
            f"{name} is {setting(name)!r}: there is no such file"
            for name in ("TLS_CERTIFICATE", "TLS_KEY")
            if not Path(setting(name)).is_file()
        ]
    return found


def make_env_file() -> bool:
    """Write .env, for its owner only, with fresh secrets; or add those that it lacks. Return True if any was made."""
    text = before = (ENV_FILE if ENV_FILE.exists() else EXAMPLE).read_text()
    documented = parse(EXAMPLE.read_text())
    for name, make in SECRETS.items():
        if re.search(rf"^{name}=$", text, re.M):
            text = re.sub(rf"^{name}=$", f"{name}={make()}", text, count=1, flags=re.M)
        elif name in documented and name not in parse(text):
            text = f"{text.rstrip()}\n{name}={make()}\n"
    if text == before:
        return False
    # Renamed into place: half a file would be taken for a finished one next time.
    fresh = ENV_FILE.with_name(ENV_FILE.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(ENV_FILE)
    print(f"Secrets made in {ENV_FILE}. Keep the file, and keep it private.")
    return True


@contextlib.contextmanager
def one_at_a_time(file: Path = VAR / "lock") -> Iterator[None]:
    """Wait until no other `make up` or `make down` runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
