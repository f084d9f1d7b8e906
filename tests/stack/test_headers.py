"""Security headers: on every response of every kind, and once."""

from http.client import HTTPResponse

import httpx
import pytest

from tests.sample import API_POST, ENDPOINT, LIVE
from tests.stack.test_serving import stylesheet
from tests.stacks import AnyStack

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


def check(stack: AnyStack, headers: list[tuple[str, str]]) -> None:
    """Of (name, value) pairs as they were sent."""
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


def raw(stack: AnyStack, request: bytes) -> HTTPResponse:
    """The answer to these bytes, which no well-behaved client would send."""
    with stack.connect() as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        response.read()
    return response


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/accounts/login/", 200),
        ("GET", "/accounts/", 302),
        ("GET", "/accounts/login", 301),
        ("GET", "/admin/login/", 200),
        ("GET", "/nothing-here/", 404),
        ("POST", "/accounts/login/", 403),
        ("PUT", "/", 403),
        ("GET", "/api/", 200),
        ("GET", "/api/openapi.json", 200),
        ("GET", ENDPOINT, 200),
        ("GET", "/api/v1/nothing-here", 404),
        ("POST", API_POST, 401),
        ("GET", f"{LIVE}/poll?wait=0", 200),
        ("GET", "/static/nothing-here.css", 404),
        ("GET", "/media/", 403),
        ("GET", "/health/live", 404),
        ("GET", "/_errors/error.css", 200),
        ("GET", f"/{'x' * 9000}", 414),
        ("TRACE", "/", 405),
    ],
)
def test_each_kind_of_response(stack: AnyStack, method: str, path: str, status: int) -> None:
    with stack.client() as client:
        response = client.request(method, path)
    assert response.status_code == status
    check(stack, response.headers.multi_items())


def test_files(stack: AnyStack) -> None:
    with stack.client() as client:
        whole = client.get(stylesheet(client))
        check(stack, whole.headers.multi_items())
        unchanged = client.get(whole.url, headers={"If-None-Match": whole.headers["ETag"]})
        assert unchanged.status_code == 304
        check(stack, unchanged.headers.multi_items())
        part = client.get(whole.url, headers={"Range": "bytes=0-9", "Accept-Encoding": "identity"})
        assert part.status_code == 206
        check(stack, part.headers.multi_items())


def test_streams(stack: AnyStack) -> None:
    with stack.client() as client, client.stream("GET", f"{LIVE}/events") as response:
        assert response.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        check(stack, response.headers.multi_items())


@pytest.mark.parametrize("path", ["/", API_POST])
def test_too_large(stack: AnyStack, path: str) -> None:
    with stack.client() as client:
        response = client.post(path, content=bytes(7 * 1024 * 1024))
    assert response.status_code == 413
    check(stack, response.headers.multi_items())


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
def test_what_nginx_refuses(stack: AnyStack, request_bytes: bytes, status: int) -> None:
    response = raw(stack, request_bytes.replace(b"OWN", stack.host.encode()))
    assert response.status == status
    check(stack, response.getheaders())


def test_compressed_stays_private(stack: AnyStack) -> None:
    """A page with a form holds a secret: it is not for caches shared by several people."""
    with stack.client() as client:
        response: httpx.Response = client.get("/accounts/login/")
    assert "Cookie" in response.headers["Vary"] or "private" in response.headers["Cache-Control"]
