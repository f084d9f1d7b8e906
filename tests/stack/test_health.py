"""Health, for whoever runs the stack and nobody else; and what the world sees when there is none."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.sample import ENDPOINT, LIVE
from tests.stack.test_headers import check
from tests.stack.test_limits import error
from tests.stacks import AnyStack


@pytest.mark.parametrize("check_name", ["live", "ready"])
def test_each_instance_says_how_it_is(stack: AnyStack, check_name: str) -> None:
    bus = "ok" if stack.setting("REDIS_URL") else "polling"
    expected = {"live": {"status": "live"}, "ready": {"status": "ready", "database": "ok", "bus": bus}}[check_name]
    with stack.inside() as inside:
        for member in stack.members:
            response = inside.get(f"/{member}/health/{check_name}")
            assert (response.status_code, response.json()) == (200, expected), member


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/stats", "/site-a/health/ready", "/health"])
@pytest.mark.parametrize("host", [None, "inside", "localhost"])
def test_not_for_the_world(stack: AnyStack, path: str, host: str | None) -> None:
    with stack.client(headers={"Host": host} if host else {}) as client:
        response = client.get(path)
    assert response.status_code == (400 if host == "inside" else 404)
    assert "ready" not in response.text


@contextmanager
def stopped(stack: AnyStack, *instances: str) -> Iterator[None]:
    for instance in instances:
        stack.stop(instance)
    try:
        yield
    finally:
        for instance in instances:
            stack.start(instance)
        stack.wait_ready()


@pytest.mark.parametrize(
    ("app", "path", "kind"),
    [
        ("site", "/", "html"),
        ("api", ENDPOINT, "json"),
        ("api", f"{LIVE}/events", "json"),
    ],
)
def test_with_no_app_running(stack: AnyStack, app: str, path: str, kind: str) -> None:
    with stopped(stack, f"{app}-a", f"{app}-b"), stack.client() as client:
        for method in ("GET", "POST"):
            response = client.request(method, path)
            error(response, 503, kind)
            assert int(response.headers["Retry-After"]) > 0
            check(stack, response.headers.multi_items())
        # The page's style is served, and so is the other application.
        assert client.get("/_errors/error.css").headers["Content-Type"].startswith("text/css")
        assert client.get("/" if app == "api" else ENDPOINT).status_code == 200


@pytest.mark.parametrize(("app", "path"), [("site", "/accounts/login/"), ("api", ENDPOINT)])
@pytest.mark.parametrize("instance", ["a", "b"])
def test_with_one_instance_running_nobody_notices(stack: AnyStack, app: str, path: str, instance: str) -> None:
    with stopped(stack, f"{app}-{instance}"), stack.client() as client:
        assert {client.get(path).status_code for _ in range(40)} == {200}


def test_a_killed_instance_comes_back(stack: AnyStack) -> None:
    """Without anybody's doing."""
    for instance in ("site-a", "api-b"):
        before = stack.pids()[instance]
        stack.kill(instance)
        deadline = time.monotonic() + 60
        while stack.pids().get(instance) in (None, 0, before):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        stack.wait_ready()


@contextmanager
def without_database(stack: AnyStack) -> Iterator[tuple[str, list[str]]]:
    """The database takes no new connection; yields a word of what it says then, and who has no old one."""
    url = stack.setting("DATABASE_URL")
    if url.startswith("sqlite"):
        file = stack.var / "db.sqlite3"
        mode = file.stat().st_mode
        file.chmod(0)
        try:
            yield "unable to open database file", ["site-a"]
        finally:
            file.chmod(mode)
    else:
        name = url.rpartition("/")[2]
        stack.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        stack.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
        try:
            yield "not currently accepting connections", ["site-a", "api-a-0"]
        finally:
            stack.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_ready_says_why_not(stack: AnyStack) -> None:
    with without_database(stack) as (reason, names), stack.inside() as inside:
        for name in names:
            response = inside.get(f"/{name}/health/ready")
            assert (response.status_code, response.json()["status"]) == (503, "unready"), name
            assert reason in response.json()["database"]
            assert "\n" not in response.json()["database"]
            # It is the database that is away, not the process.
            assert inside.get(f"/{name}/health/live").status_code == 200
    stack.wait_ready()
