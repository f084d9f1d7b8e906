"""A database that takes no new connection."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.core.apps import APPS
from tests.stacks import Stack


@contextmanager
def without_database(stack: Stack) -> Iterator[str]:
    """For the block, close the database to new connections, and end those to PostgreSQL. Yield a part of its error."""
    url = stack.setting("DATABASE_URL")
    if url.startswith("sqlite"):
        file = stack.var / "db.sqlite3"
        mode = file.stat().st_mode
        file.chmod(0)
        try:
            yield "unable to open database file"
        finally:
            file.chmod(mode)
    else:
        name = url.rpartition("/")[2]
        stack.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        stack.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
        try:
            yield "not currently accepting connections"
        finally:
            stack.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def check_readiness_without_database(stack: Stack, name: str) -> None:
    """Check that a socket's readiness check names the fault, and that its liveness check passes."""
    with without_database(stack) as reason, stack.inside() as inside:
        response = inside.get(f"/{name}/health/ready")
        assert (response.status_code, response.json()["status"]) == (503, "unready")
        assert reason in response.json()["database"]
        assert "\n" not in response.json()["database"]
        # A restart of the process would not help.
        assert inside.get(f"/{name}/health/live").status_code == 200
        # Another process may still have SQLite's file open.
        if not stack.setting("DATABASE_URL").startswith("sqlite"):
            with stack.client() as client:
                deadline = time.monotonic() + 30
                while (response := client.get(f"{APPS[name.partition('-')[0]].prefix}up")).status_code != 503:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert reason not in response.text
    stack.wait_ready()
