"""Health checks, which are private, and the stack with instances stopped or killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.core.apps import INSTANCES, App, Instance
from deploy.core.probe import UNCACHED
from tests.stack.checks import LISTENING, check_error, check_headers, each_app, error_kind, is_from
from tests.stacks import Stack


@pytest.mark.parametrize("check", ["live", "ready"])
def test_each_worker_answers_its_health_check(stack: Stack, check: str) -> None:
    bus = "ok" if stack.setting("REDIS_URL") else "off"
    expected = {"live": {"status": "live"}, "ready": {"status": "ready", "database": "ok", "bus": bus}}[check]
    with stack.inside() as inside:
        for name in stack.sockets():
            response = inside.get(f"/{name}/health/{check}")
            assert (response.status_code, response.json()) == (200, expected), name


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/live", "/health/ready", "/health/stats", *(f"/{name}/health/ready" for name in INSTANCES)],
)
@pytest.mark.parametrize("host", [None, "inside", "localhost"])
def test_clients_cannot_reach_health_checks(stack: Stack, path: str, host: str | None) -> None:
    with stack.client(headers={"Host": host} if host else {}) as client:
        response = client.get(path)
    assert response.status_code == (400 if host == "inside" else 404)
    assert "ready" not in response.text


@contextmanager
def stopped(stack: Stack, *instances: str) -> Iterator[None]:
    for instance in instances:
        stack.stop(instance)
    try:
        yield
    finally:
        for instance in instances:
            stack.start(instance)
        stack.wait_ready()


def restart(stack: Stack, instance: str) -> None:
    """Restart an instance. Return when it is ready."""
    with stopped(stack, instance):
        pass


@each_app
def test_with_no_instance_of_an_app_running(stack: Stack, app: App) -> None:
    with stopped(stack, *(instance.name for instance in app.instances)), stack.client(headers=UNCACHED) as client:
        for method in ("GET", "POST"):
            response = client.request(method, app.prefix)
            check_error(response, 503, error_kind(app))
            assert int(response.headers["Retry-After"]) > 0
            check_headers(stack, response.headers.multi_items())
        # nginx still serves the error page's style, and the other apps serve their pages.
        assert client.get("/_errors/error.css").headers["Content-Type"].startswith("text/css")
        for other in LISTENING:
            assert other is app or is_from(client.get(other.prefix), other)


@pytest.mark.parametrize("instance", [each for app in LISTENING for each in app.instances], ids=str)
def test_without_one_instance_no_request_fails(stack: Stack, instance: Instance) -> None:
    with stopped(stack, instance.name), stack.client(headers=UNCACHED) as client:
        answers = [client.get(instance.app.prefix) for _ in range(40)]
    assert all(is_from(answer, instance.app) and answer.status_code < 500 for answer in answers)


@each_app
def test_a_killed_instance_starts_again(stack: Stack, app: App) -> None:
    instance = app.instances[-1].name
    before = stack.pids()[instance]
    stack.kill(instance)
    deadline = time.monotonic() + 60
    while stack.pids().get(instance) in (None, 0, before):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stack.wait_ready()
