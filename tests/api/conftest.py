"""pytest loads this file before there are settings, so imports that need them are inside functions."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.environment import runs_tests

if TYPE_CHECKING:
    from tests.api.served import Served
    from tornado_api.application import Feature


OWN = {"APP": "api", "INSTANCE": "api-a", "BIND": ""}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Import the settings with the api's own variables, after the root conftest has set those that all apps have."""
    if not runs_tests(config):
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OWN.items():
            patch.setenv(name, value)
        importlib.import_module("tornado_api.settings")


@pytest.fixture(autouse=True)
def own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that a test starts get them too. Tests of other apps, in the same run, do not."""
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database without users. Folders of tests that need more tables have a fixture of this name."""
    from tests.api.databases import create, create_tables

    return create_tables(create("empty"))


@pytest.fixture
def features() -> list[Feature]:
    """The project's own. A folder of tests may have a fixture of this name."""
    from tornado_api.features import FEATURES

    return FEATURES


@pytest.fixture
async def api(database_url: str, features: list[Feature]) -> AsyncIterator[Served]:
    from tests.api.served import serve

    async with serve(database_url, os.environ["REDIS_URL"], features) as served:
        yield served
