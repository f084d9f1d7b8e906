import logging

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A line for each request would bury a failed test's message.
    logging.getLogger("httpx").setLevel(logging.WARNING)
