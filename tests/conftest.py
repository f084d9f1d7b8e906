"""`pytest --data=sqlite` (the default) and `--data=postgresql` run the same tests on DESIGN's two columns of data.

`--stack=native` (the default), `--stack=compose` and `--stack=vm` run tests/stack on the machine itself, in containers
and on a VM; the latter two have their own PostgreSQL and Redis. `--nothing-missing` (CI) turns the skip of a test whose
program is not installed into a failure. `--short` is what `make test` runs of tests that take long.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import django
import pytest

from tests import servers
from tests.environment import environment

pytest_plugins = ["tests.stacks", "tests.chaos.table", "tests.hosts.stack"]

stack = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", choices=["sqlite", "postgresql"], default="sqlite")
    parser.addoption("--stack", choices=["native", "compose", "vm"], default="native")
    parser.addoption("--nothing-missing", action="store_true", help="a missing program fails its tests")
    parser.addoption("--short", action="store_true", help="what `make test` runs of tests that take long")


def pytest_configure(config: pytest.Config) -> None:
    # Here and not in pyproject.toml, or pytest-django would import the settings before there is an environment to read.
    var = stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-var-"))
    os.environ |= environment(var)
    if config.getoption("data") == "postgresql":
        try:
            os.environ["DATABASE_URL"] = stack.enter_context(servers.postgresql())
            os.environ["REDIS_URL"] = stack.enter_context(servers.redis())
        except servers.Missing as missing:
            if config.getoption("nothing_missing"):
                raise pytest.UsageError(str(missing)) from missing
            pytest.exit(f"skipped: {missing}", returncode=0)
    config.add_cleanup(stack.close)
    django.setup()  # before test modules import models


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with skip_what_is_missing(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with skip_what_is_missing(item.config):
        return (yield)


@contextmanager
def skip_what_is_missing(config: pytest.Config) -> Iterator[None]:
    try:
        yield
    except servers.Missing as missing:
        if config.getoption("nothing_missing"):
            raise
        pytest.skip(str(missing))
