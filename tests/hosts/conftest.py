"""pytest setup for the tests of hosts."""

import logging

import pytest

from tests.hosts.stack import HostsStack


def pytest_configure(config: pytest.Config) -> None:
    # The log line of each request would hide a failed test's message.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> HostsStack:
    found: HostsStack = request.getfixturevalue(getattr(request, "param", "hosts"))
    return found
