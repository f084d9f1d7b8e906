"""Stacks for the length of a block."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.environment import PROJECT

from .base import Stack
from .files import directory
from .native import NativeStack

Class = TypeVar("Class", bound=Stack)


def database() -> dict[str, str]:
    """Return DATABASE_URL, of a new database, and REDIS_URL of this run's --data; nothing for SQLite."""
    url = urlsplit(os.environ["DATABASE_URL"])
    if url.scheme == "sqlite":
        return {}
    name = f"stack_{os.urandom(4).hex()}"
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return {"DATABASE_URL": urlunsplit(url._replace(path=f"/{name}")), "REDIS_URL": os.environ["REDIS_URL"]}


@contextmanager
def running(cls: type[Class], variables: Mapping[str, str] = {}, project: Path = PROJECT) -> Iterator[Class]:
    """A stack for the block."""
    with directory() as files:
        stack = cls(files, (database() if cls is NativeStack else {}) | dict(variables), project)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()
