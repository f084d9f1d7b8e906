"""The tests of tornado_api use a feature of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tornado_api.application import Feature


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with the sample's tables."""
    from tests.api.databases import create
    from tests.api.framework.sample import create_tables

    url = create("sample")
    create_tables(url)
    return url


@pytest.fixture
def features() -> list[Feature]:
    """The project's own features, and the sample's counters."""
    from tests.api.framework.sample import ALL

    return ALL
