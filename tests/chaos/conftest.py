"""The native stack with faults built in. Only this target has these tests' disks and processes."""

import logging

import pytest

from tests.sample import Crowd
from tests.stacks import NativeStack


def pytest_configure(config: pytest.Config) -> None:
    # A line for each request would bury a failed test's message.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def stack(faulty_native: NativeStack) -> NativeStack:
    return faulty_native


@pytest.fixture(scope="session")
def crowd(stack: NativeStack) -> Crowd:
    return Crowd.gather(stack)


@pytest.fixture(scope="session")
def short(pytestconfig: pytest.Config) -> bool:
    """Whether this run is part of `make test`."""
    return bool(pytestconfig.getoption("short"))
