"""Django's settings, for all tests: pytest-django reads them before it knows which tests need them."""

import os

import django
import pytest

from tests.environment import runs_tests


def pytest_configure(config: pytest.Config) -> None:
    if not runs_tests(config):
        return
    # After tests/conftest.py (tryfirst) has set the variables, before pytest-django (trylast) blocks queries.
    # Not in pyproject.toml: pytest-django would import the settings before tests/conftest.py has set their variables.
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()  # before test modules import models
