"""`pytest tests/vm --suite trixie` (bookworm, trixie, noble): the system that the hosts have.

pytest knows the option only where it is told to run tests/vm; elsewhere the hosts have the first of them.
"""

import pytest

from tests.vm.hosts import SUITES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", choices=SUITES, default=SUITES[0], help="tests/vm: the hosts' system")
