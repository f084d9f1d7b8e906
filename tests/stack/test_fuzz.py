"""Whatever bytes arrive at nginx, the answer is a page or a problem document of the project, and the log stays JSON."""

import json
import random
import subprocess
import time
from collections.abc import Callable
from http.client import BadStatusLine, HTTPException, HTTPResponse
from pathlib import Path

import pytest

from deploy.core.apps import App
from tests.stack.checks import LISTENING, each_app, error_kind
from tests.stacks import Stack

# Of a request that nginx refuses by itself: a transfer coding, or a version of HTTP, that it does not have.
NOT_SUPPORTED = {501, 505}
METHODS = [
    b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"TRACE", b"get", b"X" * 100, b"\xff", b"",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 20 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"HTTP/1"]
HEADERS = [
    b"Cookie", b"Content-Type", b"Accept-Language", b"Referer", b"Origin", b"User-Agent", b"Authorization", b"Range",
    b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range", b"Expect", b"Upgrade",
    b"TE", b"Transfer-Encoding", b"Content-Length", b"Content-Encoding", b"Connection", b"Host", b"X-Forwarded-Proto",
    b"X-Scheme", b"X-Forwarded-Host", b"Forwarded", b"X-Real-IP", b"Proxy", b"X-Request-ID", b"X_Y", b"\xff", b"a b",
    b"",
]  # fmt: skip
VALUES = [
    b"", b"x", b"\xff\xfe", b"a" * 3000, b"a/b; c*=x''y", b"multipart/form-data; boundary*=x''y", b"gzip", b"chunked",
    b"application/x-www-form-urlencoded; charset=iso-8859-1", b"bytes=99999999-", b"bytes=0-1,3-4,-1",
    b"100-continue", b"*", b'"x"', b"Thu, 01 Jan 1970 00:00:00 GMT", b"websocket", b"h2c", b"https", b"evil.example",
    b"-1", b"1,2", b"0x10", b"=;=;" * 200, b"Bearer e30.e30.e30", b"\x00", b"\t",
    b'tandem_session="aaaaaaaa\\000"', b"tandem_csrf=" + b"a" * 32,
]  # fmt: skip
PATHS = [
    b"", b"accounts/login/", b"admin/", b"v1/live/x/events", b"openapi.json", b"nowhere", b"\xff\xe9", b"%00", b"%ff",
    b"..%2f",
    b"../../etc/passwd", b"?q=%00", b"?%ff=\xff", b"?" + b"a" * 3000, b"a" * 9000, b"\x1b[31m", b"//evil.example",
    b"\\",
]  # fmt: skip


def send(stack: Stack, request: bytes) -> tuple[int, str, bytes]:
    """Return the status, the content type and the body; 0 if nginx hangs up without a status, as HTTP/0.9 has none."""
    with stack.connect() as connection:
        try:
            connection.sendall(request)
            response = HTTPResponse(connection, method=request.partition(b" ")[0].decode("latin-1"))
            response.begin()
            return response.status, response.getheader("Content-Type", ""), response.read()
        except (BadStatusLine, ConnectionError, HTTPException):
            return 0, "", b""


def any_request(stack: Stack, app: App, chance: random.Random) -> bytes:
    target = chance.choice([app.prefix.encode(), b"/", b"/static/", b"/media/", b""]) + chance.choice(PATHS)
    headers = [(b"Host", stack.authority.encode())] if chance.random() < 0.9 else []
    headers += [(chance.choice(HEADERS), chance.choice(VALUES)) for _ in range(chance.choice([0, 1, 1, 2, 3]))]
    if chance.random() < 0.1:
        headers += [(b"a%d" % number, b"") for number in range(chance.choice([100, 1000, 4000]))]
    body = chance.choice([b"", b"a=b", b"\xff", b"{", b"--x\r\n"])
    headers += [(b"Content-Length", b"%d" % len(body))] if body else []
    lines = [b"%s %s %s" % (chance.choice(METHODS), target, chance.choice(VERSIONS))]
    lines += [b"%s: %s" % header for header in (*headers, (b"Connection", b"close"))]
    return b"\r\n".join([*lines, b"", body])


@each_app
def test_any_bytes(stack: Stack, app: App) -> None:
    chance = random.Random(0)
    found: dict[int, int] = {}
    for _ in range(400):
        request = any_request(stack, app, chance)
        status, kind, body = send(stack, request)
        found[status] = found.get(status, 0) + 1
        assert status < 500 or status in NOT_SUPPORTED, (status, request)
        if status >= 400 and not request.startswith(b"HEAD"):
            # Not nginx's built-in page.
            assert "problem+json" in kind or b'<html lang="en">' in body, (status, request, body)
    assert len(found) > 5, found
    assert found.get(0, 0) < 50, found
    # nginx writes its log once a second.
    time.sleep(1.5)
    for line in (
        (stack.seen / "log/access.log").read_bytes().splitlines() if (stack.seen / "log/access.log").is_file() else []
    ):
        json.loads(line)


@each_app
@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        ("POST {} HTTP/1.1", "Transfer-Encoding: gzip", 501),
        ("GET {} HTTP/3.0", "X: y", 505),
        ("GET {} HTTP/1.1", "X: " + "y" * 9000, 400),
    ],
)
def test_nginx_own_errors(stack: Stack, app: App, request_line: str, header: str, status: int) -> None:
    request = f"{request_line.format(app.prefix)}\r\nHost: {stack.authority}\r\n{header}\r\n\r\n"
    answer, kind, _ = send(stack, request.encode())
    assert answer == status
    assert kind.startswith("application/problem+json" if error_kind(app) == "json" else "text/html")


def header(name: str, size: int) -> bytes:
    return f"{name}: {'x' * size}\r\n".encode()


# By name: a request's headers and address, of a size.
LIMITS: dict[str, Callable[[int], tuple[bytes, bytes]]] = {
    "one header": lambda size: (header("User-Agent", size), b""),
    "a cookie": lambda size: (header("Cookie", size), b""),
    "the address": lambda size: (b"", b"?" + b"a" * size),
    "bytes of the address": lambda size: (b"", b"?" + b"\xff" * size),
    "headers": lambda size: (b"".join(b"a%d:\n" % (number % 1000) for number in range(size // 4)), b""),
    "large headers": lambda size: (
        b"".join(header(name, size // 4) for name in ("Cookie", "Referer", "User-Agent", "Accept")),
        b"",
    ),
    "all at once": lambda size: (header("Cookie", size // 3) + header("Referer", size // 3), b"?" + b"a" * (size // 3)),
}
SIZES = [
    100, 1000, 4000, 8000, 8150, 8192, 8300, 12_000, 16_000, 24_000, 30_000, 32_500, 33_000, 34_000, 40_000, 100_000,
]  # fmt: skip


@each_app
@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_from_below_to_above(stack: Stack, app: App, limit: str) -> None:
    """What nginx lets in, the app takes, and its answer fits nginx's buffers. The rest is a 400 or 414."""
    statuses = []
    for size in SIZES:
        headers, query = LIMITS[limit](size)
        # A path without its slash: Django's redirect repeats the address.
        for path in (app.prefix, f"{app.prefix}accounts/login"):
            request = b"GET %s%s HTTP/1.1\r\nHost: %s\r\n" % (path.encode(), query, stack.authority.encode())
            status, _, _ = send(stack, request + headers + b"Connection: close\r\n\r\n")
            # nginx may hang up on a client that still sends.
            assert 0 <= status < 500, (limit, size, status)
            statuses.append(status)
    assert statuses[0] < 400 or statuses[0] == 404
    assert statuses[-1] in (0, 400, 414)


def test_many_headers_over_http_2(secure: Stack, tmp_path: Path) -> None:
    """There a header costs nginx's limit two bytes, and the app eleven."""
    lines = tmp_path / "headers"
    lines.write_text("".join(f"a{number}: x\n" for number in range(3000)))
    for app in LISTENING:
        command = [
            "curl",
            "--silent",
            "--http2",
            "--cacert",
            secure.certificate,
            "--header",
            f"@{lines}",
            "--output",
            "/dev/null",
        ]
        done = subprocess.run(
            [*command, "--write-out", "%{http_version} %{http_code}", f"{secure.url}{app.prefix}"],
            capture_output=True,
            text=True,
            check=False,
        )
        version, status = done.stdout.split()
        assert (version, int(status) < 500) == ("2", True), done.stdout
