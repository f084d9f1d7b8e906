"""Read settings from the environment, and stop the process if one is missing or malformed."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from environs import EnvValidationError, FileAwareEnv, ValidationError

__all__ = ["APP", "ValidationError", "read"]

APP = os.environ.get("APP", "site")


@contextmanager
def read(shapes: Mapping[str, str]) -> Iterator[FileAwareEnv]:
    """Yield a reader of settings. At the end of the block, exit with one line for each setting that is wrong.

    `shapes` describes the expected value of each setting. The lines show this, never the value: it may be a secret.
    The reader takes SECRET_KEY, or SECRET_KEY_FILE with the path of a file, so that child processes do not inherit it.
    """
    env = FileAwareEnv(eager=False, strip_whitespace=True)
    try:
        yield env
        env.seal()
    except EnvValidationError as error:
        given = [name for name in error.error_messages if os.environ.get(name) or os.environ.get(f"{name}_FILE")]
        faults = [
            f"{APP}: {name}: {'malformed' if name in given else 'not set'}; should be {shapes[name]}"
            for name in error.error_messages
        ]
        sys.exit("\n".join(faults))
    except ValueError as unreadable:
        sys.exit(f"{APP}: {unreadable}")
