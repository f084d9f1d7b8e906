"""pytest's fixtures of stacks. --stack chooses the target."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.environment import PROJECT

from .base import Stack
from .compose import ComposeStack
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


@pytest.fixture(scope="session")
def stack_class(pytestconfig: pytest.Config) -> type[Stack]:
    """The class of the stacks that a test starts on this machine: --stack=compose, or native for any other."""
    return ComposeStack if pytestconfig.getoption("stack") == "compose" else NativeStack


@pytest.fixture(scope="session")
def native() -> Iterator[NativeStack]:
    with running(NativeStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def compose() -> Iterator[ComposeStack]:
    with running(ComposeStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Stack:
    """The stack that most tests share. They leave it as they found it, except its data."""
    found: Stack = request.getfixturevalue(pytestconfig.getoption("stack"))
    return found
