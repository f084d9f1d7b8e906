"""Security headers: once on every kind of response."""

import pytest

from deploy.core.apps import App
from tests.stack.checks import MB, check_headers, check_response, each_app, send_raw
from tests.stacks import Stack


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 404),
        ("GET", "/_errors/error.css", 200),
        ("GET", f"/{'x' * 9000}", 414),
        ("TRACE", "/", 405),
    ],
)
def test_answers_of_nginx(stack: Stack, method: str, path: str, status: int) -> None:
    check_response(stack, method, path, status)


@each_app
@pytest.mark.parametrize("path", ["", "nothing-here"])
def test_answers_of_an_app(stack: Stack, app: App, path: str) -> None:
    with stack.client() as client:
        response = client.get(app.prefix + path)
    assert response.status_code == 404 if path else response.status_code < 500
    check_headers(stack, response.headers.multi_items())


@each_app
def test_too_large(stack: Stack, app: App) -> None:
    with stack.client() as client:
        response = client.post(app.prefix, content=bytes(7 * MB))
    assert response.status_code == 413
    check_headers(stack, response.headers.multi_items())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: OWN\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: OWN\r\nCookie: a=" + b"x" * 9000 + b"\r\n\r\n", 400),
    ],
)
def test_requests_that_nginx_rejects(stack: Stack, request_bytes: bytes, status: int) -> None:
    response = send_raw(stack, request_bytes.replace(b"OWN", stack.host.encode()))
    assert response.status == status
    check_headers(stack, response.getheaders())
