"""What tornado_api offers to a feature is tested with a feature of these tests' own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.api.served import Served


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with the sample's tables."""
    from tests.api.databases import create
    from tests.api.framework.sample import create_tables

    url = create("sample")
    create_tables(url)
    return url


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    """The project's own app, and the sample's counters."""
    from tests.api.framework.sample import ALL
    from tests.api.served import serve

    async with serve(database_url, os.environ["REDIS_URL"], ALL) as served:
        yield served
