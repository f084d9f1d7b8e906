import pytest

from tests.stack.databases import check_readiness_without_database
from tests.stacks import Stack


def test_readiness_without_the_database(stack: Stack) -> None:
    if stack.setting("DATABASE_URL").startswith("sqlite"):
        pytest.skip("the api keeps its connections to SQLite, and nothing can end them")
    check_readiness_without_database(stack, "api-a-0")
