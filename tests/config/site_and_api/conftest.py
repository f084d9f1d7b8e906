"""The api's settings name its app. They are read once, when they are imported."""

import importlib

import pytest


# After the root's conftest.py has set the other variables.
@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APP", "api")
        importlib.import_module("tornado_api.settings")
