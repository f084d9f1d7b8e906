from tests.stack.databases import check_readiness_without_database
from tests.stacks import Stack


def test_readiness_without_the_database(stack: Stack) -> None:
    check_readiness_without_database(stack, "site-a")
