"""Stacks on booted hosts: one VM for everything, five hosts, and seven. `--suite` chooses their operating system."""

from collections.abc import Iterator

import pytest

from tests.chaos.faulty import faulty
from tests.chaos.table import rows
from tests.hosts.hosts import SUITES
from tests.hosts.stack import HostsStack
from tests.stacks import directory


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", choices=SUITES, default=SUITES[0], help="the operating system of tests/hosts")


def serving(config: pytest.Config, inventory: str) -> Iterator[HostsStack]:
    """A stack with faults built in. The table gets the time from bare hosts to serving."""
    suite = config.getoption("suite")
    with faulty() as project, directory() as files:
        stack = HostsStack(files, project, inventory, suite)
        try:
            stack.up()
            took = ", ".join(f"make {target} {seconds:.1f} s" for target, seconds in stack.seconds.items())
            row = (f"bare {suite} to serving, {inventory}", "", "", "", f"{sum(stack.seconds.values()):.1f}", took)
            config.stash[rows].append(row)
            yield stack
        finally:
            stack.down()


@pytest.fixture(scope="session")
def hosts(pytestconfig: pytest.Config) -> Iterator[HostsStack]:
    yield from serving(pytestconfig, "one-vm")


@pytest.fixture(scope="session")
def five(pytestconfig: pytest.Config) -> Iterator[HostsStack]:
    yield from serving(pytestconfig, "five-hosts")


@pytest.fixture(scope="session")
def seven(pytestconfig: pytest.Config) -> Iterator[HostsStack]:
    yield from serving(pytestconfig, "seven-hosts")
