"""The app's settings, from the environment. No other module of this package reads it.

`python -m tornado_api.settings` checks them: it prints a line for each missing or malformed setting.
"""

import ipaddress
import os
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from environs import EnvValidationError, FileAwareEnv, ValidationError, validate
from psycopg.conninfo import conninfo_to_dict

from .traces import check

SHAPES = {
    "TOKEN_KEYS": "id:secret,id:secret; ids differ, each secret has at least 32 characters",
    "VAR_DIR": "an absolute path",
    "DATABASE_URL": "sqlite:////absolute/path or postgresql://user:password@host:port/name",
    "DATABASE_POOLER": "on or off",
    "REDIS_URL": "redis://host:port/number, or rediss:// for TLS, or empty",
    "BIND": "an IP address, or empty for unix sockets in VAR_DIR/run",
    "LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR",
    "APP": "the app's name, such as api",
    "INSTANCE": "the app's name and a letter, such as api-a",
    "DEBUG": "on or off",
    "SENTRY_DSN": "https://key@host/number, or empty",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:port or https://host, or empty",
}

# FileAwareEnv reads NAME, or the file that NAME_FILE names, so that a secret need not be in the environment.
env = FileAwareEnv(eager=False, strip_whitespace=True)


@env.parser_for("token_keys")
def token_keys(value: str) -> dict[str, str]:
    pairs = [pair.partition(":")[::2] for pair in value.split(",")]
    if len(dict(pairs)) < len(pairs) or not all(name and len(secret) >= 32 for name, secret in pairs):
        raise ValidationError(SHAPES["TOKEN_KEYS"])
    return dict(pairs)


@env.parser_for("absolute_path")
def absolute_path(value: str) -> Path:
    if not Path(value).is_absolute():
        raise ValidationError(SHAPES["VAR_DIR"])
    return Path(value)


@env.parser_for("database")
def database(value: str) -> str:
    if not value.startswith(("sqlite:////", "postgresql://")):
        raise ValidationError(SHAPES["DATABASE_URL"])
    try:
        if value.startswith("postgresql:"):
            parsed = conninfo_to_dict(value)
            # libpq takes a list of hosts, and one of ports.
            ports = [int(port) for port in str(parsed.get("port") or 0).split(",")]
            if max(ports) > 65535 or not parsed.get("dbname"):
                raise ValidationError(SHAPES["DATABASE_URL"])
    except (psycopg.ProgrammingError, ValueError) as error:
        raise ValidationError(SHAPES["DATABASE_URL"]) from error
    return value


@env.parser_for("address")
def address(value: str) -> str:
    try:
        return value and str(ipaddress.ip_address(value))
    except ValueError as error:
        raise ValidationError(SHAPES["BIND"]) from error


def url(pattern: str) -> Callable[[str], None]:
    """Return a validator: empty, or a URL of this pattern whose host and port can exist."""

    def check(value: str) -> None:
        validate.Regexp(f"({pattern})?$")(value)
        try:
            _ = urlsplit(value).port
        except ValueError as error:
            raise ValidationError("no URL") from error

    return check


# Begins each line about a fault.
speaker = os.environ.get("APP") or "tornado_api"
try:
    TOKEN_KEYS: dict[str, str] = env.token_keys("TOKEN_KEYS")
    VAR_DIR: Path = env.absolute_path("VAR_DIR")
    DATABASE_URL: str = env.database("DATABASE_URL")
    DATABASE_POOLER = env.bool("DATABASE_POOLER", False)
    REDIS_URL = env.str("REDIS_URL", "", validate=url("rediss?://.+"))
    BIND: str = env.address("BIND", "")
    LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    APP = env.str("APP", validate=validate.Regexp("[a-z][a-z0-9_]*$"))
    INSTANCE = env.str("INSTANCE", validate=validate.Regexp("[a-z][a-z0-9_]*-[a-z]$"))
    DEBUG = env.bool("DEBUG", False)
    SENTRY_DSN = env.str("SENTRY_DSN", "", validate=url(r"https?://[^@/]+@[^@/]+/.*\d"))
    endpoint = url(r"https?://[\w.:\[\]-]+(/[\w./-]*)?")
    OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "", validate=endpoint)
    env.seal()
except EnvValidationError as error:
    # The expected format, and never the value, which may be a secret.
    given = [name for name in error.error_messages if os.environ.get(name) or os.environ.get(f"{name}_FILE")]
    faults = [
        f"{speaker}: {name}: {'malformed' if name in given else 'not set'}; should be {SHAPES[name]}"
        for name in error.error_messages
    ]
    sys.exit("\n".join(faults))
except ValueError as unreadable:
    sys.exit(f"{speaker}: {unreadable}")
check(speaker, OTEL_EXPORTER_OTLP_ENDPOINT)
