"""The api's settings: what differs between deployments comes from the environment, and is read here, nowhere else."""

import os
import re
import sys
from pathlib import Path

from environs import EnvValidationError, FileAwareEnv, ValidationError, validate
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

SHAPES = {
    "TOKEN_KEYS": "id:secret,id:secret; ids differ, each secret has at least 32 characters",
    "VAR_DIR": "an absolute path",
    "DATABASE_URL": "sqlite:////absolute/path or postgresql://user:password@host:port/name",
    "REDIS_URL": "redis://host:port/number, or empty",
    "API_BIND": "unix:/absolute/path-{instance}-{slot}.sock or host:port, the first port of one for each process",
    "LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR",
    "INSTANCE": "a or b",
    "DEBUG": "on or off",
}

# TOKEN_KEYS, or TOKEN_KEYS_FILE with the path of a file that has it, which no process below inherits.
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
def database(value: str) -> URL:
    if not value.startswith(("sqlite:////", "postgresql://")):
        raise ValidationError(SHAPES["DATABASE_URL"])
    try:
        return make_url(value)
    except (ArgumentError, ValueError) as error:
        raise ValidationError(SHAPES["DATABASE_URL"]) from error


@env.parser_for("bind")
def bind(value: str) -> str:
    if not re.fullmatch(r"unix:/[^{}]*\{instance\}[^{}]*\{slot\}[^{}]*|[^{}]+:[0-9]{1,5}", value):
        raise ValidationError(SHAPES["API_BIND"])
    return value


try:
    TOKEN_KEYS: dict[str, str] = env.token_keys("TOKEN_KEYS")
    VAR_DIR: Path = env.absolute_path("VAR_DIR")
    DATABASE_URL: URL = env.database("DATABASE_URL")
    REDIS_URL = env.str("REDIS_URL", "", validate=validate.Regexp(r"(rediss?://.+)?$"))
    API_BIND: str = env.bind("API_BIND")
    LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    INSTANCE = env.str("INSTANCE", validate=validate.OneOf(["a", "b"]))
    DEBUG = env.bool("DEBUG", False)
    env.seal()
except EnvValidationError as error:
    # Says what it should look like, never what it is: these are secrets.
    given = [name for name in error.error_messages if os.environ.get(name) or os.environ.get(f"{name}_FILE")]
    faults = [
        f"api: {name}: {'malformed' if name in given else 'not set'}; should be {SHAPES[name]}"
        for name in error.error_messages
    ]
    sys.exit("\n".join(faults))
except ValueError as unreadable:
    sys.exit(f"api: {unreadable}")
