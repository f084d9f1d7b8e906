"""The native stack with built-in faults. Only this target has the disks and processes that these tests need."""

import logging

import pytest

from tests.sample import Crowd
from tests.stacks import NativeStack


def pytest_configure(config: pytest.Config) -> None:
    # The log line of each request would hide a failed test's message.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def stack(faulty_native: NativeStack) -> NativeStack:
    return faulty_native


@pytest.fixture(scope="session")
def crowd(stack: NativeStack) -> Crowd:
    return Crowd.gather(stack)


@pytest.fixture(scope="session")
def short(pytestconfig: pytest.Config) -> bool:
    """Return whether this run is part of `make test`."""
    return bool(pytestconfig.getoption("short"))
