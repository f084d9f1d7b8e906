"""The tests of polls run on a database that Django migrated."""

import pytest

from tests.api.databases import create
from tests.api.tokens import USERS
from tests.site.commands import manage

USERS_SCRIPT = f"""
from accounts.models import User
User.objects.bulk_create(User(username=str(n)) for n in range({USERS}))
"""


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with USERS users, whose ids begin at 1."""
    url = create("polls")
    manage("migrate", "-v0", DATABASE_URL=url).check_returncode()
    manage("shell", "-v0", "-c", USERS_SCRIPT, DATABASE_URL=url).check_returncode()
    return url
