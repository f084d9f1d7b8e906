"""Stacks with built-in faults, on the target that --stack selects. tests/chaos has the load and the faults."""

import logging

import pytest

from tests.sample import Crowd
from tests.stacks import Stack

FIXTURES = {"native": "faulty_native", "compose": "faulty_compose", "hosts": "hosts"}


def pytest_configure(config: pytest.Config) -> None:
    # The log line of each request would hide a failed test's message.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Stack:
    found: Stack = request.getfixturevalue(FIXTURES[pytestconfig.getoption("stack")])
    return found


@pytest.fixture(scope="session")
def crowd(stack: Stack) -> Crowd:
    return Crowd.gather(stack)


@pytest.fixture(scope="session")
def short(pytestconfig: pytest.Config) -> bool:
    """Return whether this run is part of `make test`."""
    return bool(pytestconfig.getoption("short"))
