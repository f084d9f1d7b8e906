"""The settings: .env, what each app gets of it, and ${WORDS} in configuration files. Standard library only."""

import contextlib
import fcntl
import ipaddress
import os
import re
import secrets
import socket
import string
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deploy.core import backups, elsewhere
from deploy.core.apps import INSTANCES, App
from deploy.core.apps import PROJECT as PROJECT
from deploy.core.certificate import why_no_authorities, why_no_pair

VAR = Path(os.environ.get("VAR_DIR", PROJECT / "var")).resolve()
ENV_FILE = Path(os.environ.get("ENV_FILE", PROJECT / ".env")).resolve()
EXAMPLE = PROJECT / ".env.example"

# `make up` makes these. 48 random bytes are 64 characters; Django wants 50, PyJWT 32.
SECRETS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "TOKEN_KEYS": lambda: f"first:{secrets.token_urlsafe(48)}",
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "REDIS_PASSWORD": lambda: secrets.token_urlsafe(24),
    "BACKUP_PASSWORD": lambda: secrets.token_urlsafe(24),
}
# `make secrets` makes this one too, which no app gets: a cluster of PostgreSQL on several hosts needs it.
HOST_SECRETS: dict[str, Callable[[], str]] = {"REPLICATION_PASSWORD": lambda: secrets.token_urlsafe(24)}
# The name of containers and volumes from before each clone had its own. docker-compose.yml has the same default.
OLD_NAME = "tandem"
# `make up` makes this too, so that two clones on one Docker engine have containers and volumes of their own. A stack
# from before there was such a setting keeps its name, and so its data.
MADE = SECRETS | {
    "COMPOSE_PROJECT_NAME": lambda: (
        OLD_NAME if (VAR / "compose.json").exists() else f"{OLD_NAME}-{secrets.token_hex(3)}"
    )
}
# Settings whose names end so are secrets: containers and hosts get them as files, named by NAME_FILE.
SECRET_NAMES = re.compile(r".*_(KEY|KEYS|PASSWORD|SECRET|URL|TOKEN|DSN)")
# No app reads these. A change of NGINX_ONLY reloads nginx and restarts nothing.
TLS_FILES = ("TLS_CERTIFICATE", "TLS_KEY")
LISTENS = ("ADDRESS", "PORT", "LISTEN", "LISTEN_PLAIN", "PLAIN_PORT", *TLS_FILES)
NGINX_ONLY = frozenset((*LISTENS, "ADMIN_NETWORKS", "DEBUG_UPSTREAM", "LIVE_PER_ADDRESS", "METRICS_PORT"))
COMPOSE_ONLY = frozenset(("COMPOSE_PROJECT_NAME", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "CPUS", "MEMORY", "APP_UID"))
COMPOSE_ONLY |= {"ACME_EMAIL", "ACME_DIRECTORY", "ALERT_URL", "IMAGE", "PROMETHEUS_PORT", "RELEASE"}
# Descriptors of the locks that this process has, for subprocess's `pass_fds`: a child keeps a lock if its parent dies.
HELD: list[int] = []
# Of the project and of VAR_DIR.
PATH = r"[\w./+@-]+"
# Linux's limit for the path of a unix socket, without the zero at its end (unix(7)).
LONGEST_SOCKET = 107

NETWORKS = (r"[\da-fA-F.:/, ]*", "networks, separated by commas, for example 10.0.0.0/8; or empty")
PORT = (r"|(?!10[01]|102[0-3])[1-9]\d{3}|[1-5]\d{4}", "a number from 1024 to 59999, or empty")
# The settings that the deployment itself reads: a pattern, and the same in words. The apps check theirs.
SHAPES = {
    "ALLOWED_HOSTS": (r".+", "host names, separated by commas"),
    "TLS": (r"on|off", "on or off"),
    "DEBUG_UPSTREAM": (r"on|off", "on or off"),
    "CORES": (r"|[1-9]\d*", "a whole number from 1, or empty"),
    "CPUS": (r"\d+(\.\d+)?", "a number of cores, for example 1.5; 0 for all"),
    # With two workers, a container of the api takes 150 MB, one of the site 60; PostgreSQL 60.
    "MEMORY": (r"(25[6-9]|2[6-9]\d|[3-9]\d\d|[1-9]\d{3,})m|[1-9]\d*g", "at least 256m, for example 512m or 2g"),
    "COMPOSE_PROJECT_NAME": (r"|[a-z0-9][a-z0-9_-]*", "lower-case letters, digits, _ and -"),
    "METRICS_PORT": PORT,
    "PROMETHEUS_PORT": PORT,
    "STACK_PAGE": (r"|staff|everybody", "staff or everybody"),
    "APP_UID": (r"[1-9]\d*", "the number of a user, other than 0"),
    "ACME_EMAIL": (r"|[^@\s]+@[^@\s]+", "the address of somebody who reads it, or empty"),
    "ACME_DIRECTORY": (r"https://[^\s=@]+", "the https address of a certificate authority's directory"),
    "IMAGE": (
        r"|[a-z0-9]+([.-]+[a-z0-9]+)*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+",
        "a registry and a name in it without a tag, for example registry.example.org/team/shop; or empty",
    ),
    "RELEASE": (r"|[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "a tag of images: letters, digits, _, . and -; or empty"),
    "TRUSTED_PROXIES": NETWORKS,
    "ADMIN_NETWORKS": NETWORKS,
    # nginx takes at most 65535.
    "LIVE_PER_ADDRESS": (r"|[1-9]\d{0,3}|[1-5]\d{4}", "a whole number from 1 to 59999"),
    "USE_I18N": (r"|on|off", "on or off"),
    "LANGUAGES": (r"|[a-z-]+(,[a-z-]+)*", "codes of languages, such as en,de or pt-br, separated by commas"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        r"|https?://[\w.:\[\]-]+(/[\w./-]*)?",
        "the address of a server of OTLP, such as http://localhost:4318, or empty",
    ),
    "UPLOAD_LIMIT_MB": (r"[1-9]\d{0,2}", "a number of megabytes from 1 to 999"),
}

# A line of a settings file, as python-dotenv reads it: quotes, and a comment after a space. Every program reads .env
# through parse(): the apps and Docker Compose get its result.
LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*"""
    r"""(?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?!['"])[^\0]*?)[ \t]*(?:(?<=\s)\#.*)?""",
    re.A,
)
BLANK = re.compile(r"\s*(#.*)?")
CONTROL = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")


def read_lines(file: Path) -> list[str]:
    """Return the lines of a settings file; none if there is no file. A byte that is not UTF-8 becomes a surrogate."""
    try:
        text = file.read_text("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        return []
    # Only these end a line: str.splitlines() also splits at U+2028 and others, which a password may contain.
    return text.replace("\r\n", "\n").split("\n")


def parse(text: str) -> dict[str, str]:
    """Return the variables of a settings file: NAME=value lines, the value in quotes or not. The last line wins."""
    matches = [LINE.fullmatch(line.rstrip("\r")) for line in text.removeprefix("\ufeff").split("\n")]
    return {match["name"]: unquote(match["value"]) for match in matches if match}


def read_file(file: Path) -> dict[str, str]:
    """Return the variables of a settings file; none if there is no file."""
    return parse("\n".join(read_lines(file)))


def unreadable_lines(file: Path) -> list[str]:
    """Return one line for each line of a settings file that is no NAME=value, without its text: it may be a secret."""
    found = []
    for number, line in enumerate(read_lines(file), 1):
        match = LINE.fullmatch(line)
        if not (match or BLANK.fullmatch(line)):
            found.append(
                f"{file}, line {number}: should be NAME=value, with a quote at both ends of the value or at none"
            )
        elif match and CONTROL.search(match["value"]):
            found.append(f"{file}, line {number}: {match['name']} should be UTF-8 without control characters")
    return found


def unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return re.sub(r"\\([\\'\"])", r"\1", value[1:-1]) if quoted else value


def quote(value: str) -> str:
    """Return a value quoted for a settings file. It may contain anything except a line break."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def names() -> set[str]:
    """Return the names of all settings. A file that this user may not read has none."""
    found: set[str] = set()
    for file in (EXAMPLE, ENV_FILE):
        with contextlib.suppress(OSError):
            found |= read_file(file).keys()
    return found


def values() -> dict[str, str]:
    """Return every setting: from the environment, else .env, else .env.example, whose values are the defaults."""
    known = read_file(EXAMPLE) | read_file(ENV_FILE)
    given = {name: os.environ.get(name, value) for name, value in known.items()}
    if "ALLOWED_HOSTS" in given:
        given["ALLOWED_HOSTS"] = ",".join(filter(None, map(str.strip, given["ALLOWED_HOSTS"].split(","))))
    for name in (*TLS_FILES, "CA_FILE"):
        if given.get(name):
            # nginx would look below its own prefix.
            given[name] = str(PROJECT / Path(given[name]).expanduser())
    return given


def setting(name: str) -> str:
    """Return one setting; empty if it is not in .env.example, .env or the environment."""
    return values().get(name, os.environ.get(name, ""))


def is_secret(name: str) -> bool:
    return bool(SECRET_NAMES.fullmatch(name)) and name not in NGINX_ONLY


def of_app(app: App, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an app gets: all but nginx's, compose's, and those that the registry leaves out."""
    left_out = NGINX_ONLY | COMPOSE_ONLY | backups.SETTINGS | set(app.without)
    return {name: value for name, value in variables.items() if name not in left_out}


class Words(string.Template):
    """Only ${WORDS} in capitals are filled in. nginx's own $variables stay as they are."""

    pattern = r"\$\{(?P<braced>[A-Z0-9_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]


def shown(value: str) -> str:
    """Return a malformed value for people, but not one that may be two joined lines with a secret."""
    return f"not shown ({len(value)} characters)" if re.search("[=@]", value) or len(value) > 100 else repr(value)


def is_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address. nginx takes no zone, as in fe80::1%eth0."""
    with contextlib.suppress(ValueError):
        return "%" not in text and bool(ipaddress.ip_address(text))
    return False


def bracketed(address: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def listen_addresses(address: str) -> list[str]:
    """Return the addresses to listen on: with 127.0.0.1 and 0.0.0.0 those of IPv6 too, if the machine has IPv6."""
    other = {"127.0.0.1": "::1", "0.0.0.0": "::"}.get(address)  # noqa: S104
    return [address, other] if other and has_address(other) else [address]


def has_address(address: str) -> bool:
    """Return whether this machine has an address of IPv6. A kernel without IPv6 has not even a socket for it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as listener:
        listener.bind((address, 0))
        return True
    return False


def is_host(name: str) -> bool:
    """Return whether a name in ALLOWED_HOSTS is one that nginx and Django read alike."""
    label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    if len(name) > 253:
        return False
    return bool(re.fullmatch(rf"\.?({label}\.)*{label}", name)) or (
        name[:1] + name[-1:] == "[]" and ":" in name and is_address(name[1:-1])
    )


def faults() -> list[str]:
    """Return one line for each of the deployment's own settings that is malformed. It shows no secret."""
    if found := unreadable_lines(ENV_FILE):
        return found
    given = values()
    if odd := [name for name, value in given.items() if CONTROL.search(value)]:
        return [f"{name} in the environment should be UTF-8 without control characters and line ends" for name in odd]
    found = [
        f"{name} is {shown(value)}: should be {words}"
        for name, (shape, words) in SHAPES.items()
        if not re.fullmatch(shape, value := given.get(name, ""), re.A)
    ]
    # supervisord, uWSGI and nginx split their files at blanks.
    found += [
        f"The path {path} should be letters, digits, and . _ - + @ alone: {remedy}"
        for path, remedy in ((PROJECT, "move the project"), (VAR, "set VAR_DIR to another"))
        if not re.fullmatch(PATH, str(path))
    ]
    name = max(INSTANCES, key=len, default="")
    longest = max(len(f"/run/upstream/{name}/{name}-99.sock"), len("/supervisor/supervisord.sock.1234567"))
    if (most := LONGEST_SOCKET - longest) < len(os.fsencode(VAR)):
        found.append(f"The path {VAR} is too long for the sockets in it: should be {most} bytes or fewer. Set VAR_DIR")
    found += [
        f"{name} is {shown(given.get(name, ''))}: should be a number from 1 to 65535"
        for name in ("PORT", "PLAIN_PORT")
        if not (re.fullmatch("[1-9][0-9]{0,4}", given.get(name, "")) and int(given[name]) <= 65535)
    ]
    found += [
        f"ALLOWED_HOSTS has {shown(name)}: should be "
        + ("the names by which visitors reach this, since a wildcard lets a visitor choose the host in links"
           if name == "*" else "a host name in lower case such as www.example.com, .example.org, or an address")
        for name in filter(None, given.get("ALLOWED_HOSTS", "").split(","))
        if not is_host(name)
    ]  # fmt: skip
    if not is_address(given.get("ADDRESS", "")):
        found.append(f"ADDRESS is {shown(given['ADDRESS'])}: should be an IP address of this machine, 0.0.0.0 or ::")
    found += [f"{name} is empty in the environment: unset it" for name in SECRETS if os.environ.get(name) == ""]
    if (debug := os.environ.get("DEBUG", given.get("DEBUG", ""))) not in ("", "off"):
        found.append(f"DEBUG is {shown(debug)}: remove it, and use `make dev`, which shows debug pages")
    found += [*stack_page_faults(given), *prometheus_faults(given), *mail_faults(given)]
    found += [*elsewhere.faults(given), *backups.faults(given)]
    if given.get("CA_FILE") and (why := why_no_authorities(Path(given["CA_FILE"]))):
        found.append(f"CA_FILE: {why}")
    if given["TLS"] == "on":
        found += tls_faults(given)
    elif given["ACME_EMAIL"]:
        found.append("ACME_EMAIL is set, and TLS is not on: should be on")
    return found


def stack_page_faults(given: Mapping[str, str]) -> list[str]:
    """Return what is wrong if others than the people of this machine could see the stack page."""
    is_private = not given["TRUSTED_PROXIES"] and elsewhere.is_loopback(given["ADDRESS"])
    if given.get("STACK_PAGE") != "everybody" or is_private:
        return []
    return ["STACK_PAGE is everybody, and others reach this machine (ADDRESS, TRUSTED_PROXIES): should be staff"]


def prometheus_faults(given: Mapping[str, str]) -> list[str]:
    found = []
    # A secret: not in SHAPES, whose faults show values.
    if not re.fullmatch(r"|https?://\S+", given.get("ALERT_URL", "")):
        found.append("ALERT_URL should be the address of a webhook, https://…")
    if given.get("PROMETHEUS_PORT") and not given.get("METRICS_PORT"):
        found.append(
            "PROMETHEUS_PORT is set, and METRICS_PORT is empty: should be a port too, for what Prometheus reads"
        )
    return found


def mail_faults(given: Mapping[str, str]) -> list[str]:
    """Return what is wrong if nobody who signs up could ever log in."""
    if given.get("EMAIL_VERIFICATION") != "mandatory" or given.get("EMAIL_URL"):
        return []
    return ["EMAIL_VERIFICATION is mandatory, and nobody gets the link: set EMAIL_URL, to console: for the log"]


def tls_faults(given: Mapping[str, str]) -> list[str]:
    found = [
        f"{name} is {shown(given[name])}: "
        + ("there is no such file" if given[name] else "should be the path of a file")
        for name in TLS_FILES
        if not given["ACME_EMAIL"] and not Path(given[name]).is_file()
    ]
    if given["ACME_EMAIL"]:
        found += [f"{name} and ACME_EMAIL are set: should be one of them" for name in TLS_FILES if given[name]]
        found += [
            f"ALLOWED_HOSTS has {name}: should be each name by itself, for the certificate (ACME_EMAIL)"
            for name in public_names(given)
            if name.startswith(".")
        ]
        if not public_names(given):
            found.append("ALLOWED_HOSTS has no name for a certificate (ACME_EMAIL): should have one as www.example.com")
    found += [
        f"{name} is {shown(given[name])}: should have no quote, $, semicolon, brace or backslash, for nginx"
        for name in TLS_FILES
        if re.search(r"[\"'$;{}\\]", given[name])
    ]
    if given["PLAIN_PORT"] == given["PORT"]:
        found.append(f"PLAIN_PORT is {given['PORT']}, as PORT: should be another, for the redirect to HTTPS")
    return found


def public_names(given: Mapping[str, str]) -> list[str]:
    """Return the names in ALLOWED_HOSTS that a certificate authority can certify."""
    names = given["ALLOWED_HOSTS"].split(",")
    return [name for name in names if "." in name.strip(".") and not is_address(name.strip("[]"))]


def certificate_faults() -> list[str]:
    """Return why nginx could not serve with the certificate and its key, if it is to."""
    given = values()
    files = [Path(given[name]) for name in TLS_FILES] if given["TLS"] == "on" and not given["ACME_EMAIL"] else []
    return list(filter(None, [why_no_pair(*files)])) if files else []


def replace(file: Path, text: str, mode: int = 0o600) -> None:
    """Write a whole file or nothing. The file that root writes belongs to the owner of the directory."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode)
    fresh.write_text(text, "utf-8", "surrogateescape")
    fresh.chmod(mode)
    leave_to_owner(fresh)
    fresh.replace(file)


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """Make a directory and its parents. The directories that root makes belong to the owner of the existing parent."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode)
        leave_to_owner(path)


def leave_to_owner(path: Path) -> None:
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def make_env_file() -> bool:
    """Write .env, for its owner only, with fresh secrets; or add those that it lacks. Return True if any was made."""
    lines = read_lines(ENV_FILE if ENV_FILE.exists() else EXAMPLE)
    given, documented, made = parse("\n".join(lines)), read_file(EXAMPLE), False
    while lines and not lines[-1].strip():
        lines.pop()
    for name, make in MADE.items():
        if name not in documented or given.get(name):
            continue
        made, line = True, f"{name}={make()}"
        # The last line of a name wins.
        places = [
            place for place, text in enumerate(lines) if (match := LINE.fullmatch(text)) and match["name"] == name
        ]
        if places:
            lines[places[-1]] = line
        else:
            lines.append(line)
    if not made:
        return False
    replace(ENV_FILE, "\n".join(lines) + "\n")
    print(f"Secrets made in {ENV_FILE}. Keep the file, and keep it private.")
    return True


@contextlib.contextmanager
def one_at_a_time(file: Path = VAR / "lock") -> Iterator[None]:
    """Wait until no other `make up` or `make down` runs, nor a migration that a killed one left behind (HELD)."""
    make_directory(file.parent)
    file.touch(0o600)
    leave_to_owner(file)
    with file.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command changes this stack. Waiting until it ends …", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        HELD.append(lock.fileno())
        try:
            yield
        finally:
            HELD.pop()


def main(file: str, *command: str) -> None:
    """Become a command with the settings of a file in its environment: what supervisord starts."""
    os.environ.update(read_file(Path(file)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
