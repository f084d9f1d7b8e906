"""The tests of polls run on the tables of a release."""

import pytest

from tests.api.databases import create
from tests.api.tokens import USERS


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with USERS users, whose ids begin at 1."""
    from tornado_api import schema, token

    url = create("polls")
    schema.create_tables(url)
    for _ in range(USERS):
        token.add_user(url)
    return url
