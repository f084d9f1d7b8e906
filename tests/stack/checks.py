"""What the tests check of any answer that came through nginx."""

from http.client import HTTPResponse

import httpx
import psutil
import pytest

from deploy.core.apps import APPS, App
from deploy.core.processes import workers
from tests.stacks import PROJECT, Stack

MB = 1024 * 1024
# The apps that nginx sends requests to.
LISTENING = [app for app in APPS.values() if app.server.listens]
each_app = pytest.mark.parametrize("app", LISTENING, ids=lambda app: app.name)

# Headers that every response has once, with the start of their values.
ONCE = {
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=()",
    "x-request-id": "",
}


def upstream(response: httpx.Response) -> str:
    """Return the name of the socket that served: site-a, api-b-1; empty when nginx answered itself."""
    return str(response.headers.get("X-Upstream", "")).rpartition("/")[2].removesuffix(".sock")


def workers_of(pid: int) -> list[psutil.Process]:
    return [psutil.Process(each.pid) for each in workers(pid)]


def is_from(response: httpx.Response, app: App) -> bool:
    """Return whether an app answered, and not nginx."""
    return any(upstream(response).startswith(instance.name) for instance in app.instances)


def error_kind(app: App) -> str:
    """Return in which form nginx answers errors under an app's prefix: html or json."""
    return "json" if (PROJECT / f"nginx/{app.name}/error_kind.conf").exists() else "html"


def check_error(response: httpx.Response, status: int, kind: str) -> None:
    """Check that an error of nginx or of an app is for people (html) or programs (json), and has the request's id."""
    assert response.status_code == status, response.text
    if kind == "json":
        assert response.headers["Content-Type"].partition(";")[0] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == status
        assert problem["title"]
        assert problem.get("request_id", response.headers["X-Request-ID"]) == response.headers["X-Request-ID"]
    else:
        assert response.headers["Content-Type"].partition(";")[0] == "text/html"
        # Not nginx's built-in page.
        assert '<html lang="en">' in response.text
        assert "<h1" in response.text
        assert "<!--#" not in response.text


def check_headers(stack: Stack, headers: list[tuple[str, str]]) -> None:
    """Check the headers of a response: (name, value) pairs as they were sent."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    for name, start in ONCE.items():
        assert len(named.get(name, [])) == 1, f"{name}: {named.get(name)}"
        assert named[name][0].startswith(start)
    assert "unsafe" not in named["content-security-policy"][0]
    assert named["server"] == ["nginx"]
    assert ("strict-transport-security" in named) == bool(stack.tls)
    assert not {"x-powered-by", "via"} & named.keys()
    for name in ("content-type", "cache-control", "retry-after", "content-length", "etag"):
        assert len(named.get(name, [])) <= 1, f"{name}: {named[name]}"


def check_response(stack: Stack, method: str, path: str, status: int) -> None:
    """Check the status and the headers of the response to a request."""
    with stack.client() as client:
        response = client.request(method, path)
    assert response.status_code == status, response.text
    check_headers(stack, response.headers.multi_items())


def send_raw(stack: Stack, request: bytes) -> HTTPResponse:
    """Send bytes that no well-behaved client would send. Return the response."""
    with stack.connect() as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        response.read()
    return response
