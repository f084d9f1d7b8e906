"""pytest loads this file before there are settings, so imports that need them are inside functions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.api.served import Served


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # After the root conftest, which sets the variables that all apps have.
    os.environ |= {"APP": "api", "INSTANCE": "api-a", "BIND": ""}


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with the sample's tables."""
    from tests.api.databases import create
    from tests.api.sample import create_tables

    url = create("sample")
    create_tables(url)
    return url


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    from tests.api.served import serve

    async with serve(database_url, os.environ["REDIS_URL"]) as served:
        yield served
