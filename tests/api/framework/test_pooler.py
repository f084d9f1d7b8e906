"""A pooler in front of PostgreSQL, whose connections change between transactions."""

import asyncio
from datetime import UTC

import pytest

from deploy.core.elsewhere import with_authorities
from tests.stacks.managed import managed
from tornado_api.database import Database


@pytest.mark.any_data
@pytest.mark.slow
async def test_statements_that_repeat() -> None:
    with managed() as services:
        url = with_authorities({"DATABASE_URL": services.pooled}, services.authority)["DATABASE_URL"]
        database = Database(url, "api-a", pooler=True)
        # psycopg would prepare each of the three, on a connection that the next execution does not get.
        found = await asyncio.gather(*(database.read(f"SELECT {number % 3}, now()") for number in range(300)))
        await database.close()
    assert [row[0] for [row] in found] == [number % 3 for number in range(300)]
    # Not the zone of the role.
    assert {row[1].tzinfo for [row] in found} == {UTC}
