"""`pytest tests/hosts --suite trixie` (bookworm, trixie, noble): the system that the hosts have.

pytest knows the option only where it is told to run tests/hosts; elsewhere the hosts have the first of them.
"""

import pytest

from tests.hosts.hosts import SUITES
from tests.hosts.stack import VmStack


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("short"):
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", choices=SUITES, default=SUITES[0], help="tests/hosts: the hosts' system")


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> VmStack:
    found: VmStack = request.getfixturevalue(getattr(request, "param", "vm"))
    return found
