"""`make maintenance on`: visitors get 503. Staff, who have the key, and health checks are served."""

import re
from collections.abc import Iterator

import pytest

from deploy.core.probe import UNCACHED
from tests.stack.checks import LISTENING, check_error, check_headers, error_kind, is_from
from tests.stacks import Stack


@pytest.fixture
def key(stack: Stack) -> Iterator[str]:
    """Maintenance is on. Yield the key for staff."""
    done = stack.make("maintenance on")
    try:
        assert done.returncode == 0, done.stdout
        yield re.findall(r"\?maintenance=([0-9a-f]{32})$", done.stdout, re.MULTILINE)[0]
    finally:
        assert "Maintenance is off" in stack.make("maintenance off").stdout


def test_visitors_get_503_and_staff_are_served(stack: Stack, key: str) -> None:
    for app in LISTENING:
        for cookie in (
            "",
            UNCACHED["Cookie"],
            f"maintenance={'0' * 32}",
            "maintenance=on",
            "maintenance=../maintenance/on",
        ):
            with stack.client(headers={"Cookie": cookie}) as visitor:
                response = visitor.get(app.prefix)
                assert visitor.get(f"{app.prefix}up").status_code == 503
            check_error(response, 503, error_kind(app))
            check_headers(stack, response.headers.multi_items())
            assert "for maintenance" in response.text
            assert response.headers["Retry-After"] == "120"
    with stack.client() as staff:
        first = staff.get(LISTENING[0].prefix, params={"maintenance": key})
        [cookie] = first.headers.get_list("Set-Cookie")
        assert cookie.startswith(f"maintenance={key}; Path=/; HttpOnly; SameSite=Lax")
        assert ("; Secure" in cookie) == bool(stack.tls)
        for app in LISTENING:
            response = staff.get(app.prefix)
            assert is_from(response, app)
            assert response.status_code < 500
    stack.wait_ready()


def test_a_deploy_during_maintenance(stack: Stack, key: str) -> None:
    done = stack.deploy()
    assert done.returncode == 0, done.stdout
    # A second `on` has the same key.
    assert key in stack.make("maintenance on").stdout
    with stack.client() as visitor:
        assert visitor.get(LISTENING[0].prefix).status_code == 503


def test_afterwards_visitors_are_served(stack: Stack) -> None:
    with stack.client(headers=UNCACHED) as visitor:
        assert all(is_from(visitor.get(app.prefix), app) for app in LISTENING)
    assert "maintenance" not in stack.make("status").stdout.lower()


@pytest.mark.parametrize("words", ["maintenance", "maintenance on off"])
def test_neither_on_nor_off(stack: Stack, words: str) -> None:
    done = stack.make(words)
    assert done.returncode
    assert "say `make maintenance on` or `make maintenance off`" in done.stdout
