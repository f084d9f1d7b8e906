"""pytest loads this file before there are settings: what needs them is imported when it runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.api.served import Served


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database as Django makes it."""
    from tests.api.served import migrate

    migrate(os.environ["DATABASE_URL"])
    return os.environ["DATABASE_URL"]


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    from tests.api.served import serve

    async with serve(database_url, os.environ["REDIS_URL"]) as served:
        yield served
