from tests.stack.databases import check_readiness_without_database
from tests.stack.test_health import restart
from tests.stacks import Stack


def test_readiness_without_the_database(stack: Stack) -> None:
    # A fresh worker: SQLite would use a file that an older connection of the process has open.
    restart(stack, "site-a")
    check_readiness_without_database(stack, "site-a")
