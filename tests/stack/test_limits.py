"""Oversized, too fast and too slow."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.people import CSRF, Person
from tests.sample import API_POST, ENDPOINT, LIVE, SITE_POST, write_by_api
from tests.stacks import AnyStack

MB = 1024 * 1024
SLOW = 100


def error(response: httpx.Response, status: int, kind: str) -> None:
    """It is an error of nginx or the apps as people (html) or programs (json) can read it, with the request's id."""
    assert response.status_code == status, response.text
    if kind == "json":
        assert response.headers["Content-Type"].partition(";")[0] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == status
        assert problem["title"]
        assert problem.get("request_id", response.headers["X-Request-ID"]) == response.headers["X-Request-ID"]
    else:
        assert response.headers["Content-Type"].partition(";")[0] == "text/html"
        # Not the page that nginx has built in.
        assert '<html lang="en">' in response.text
        assert "<h1" in response.text
        assert "<!--#" not in response.text


@pytest.mark.parametrize(
    ("path", "size", "kind"),
    [(SITE_POST, 6 * MB + 1, "html"), (API_POST, 64 * 1024 + 1, "json")],
)
def test_body_too_large(stack: AnyStack, path: str, size: int, kind: str) -> None:
    with stack.client() as client:
        error(client.post(path, content=bytes(size)), 413, kind)
        # As many bytes as are allowed reach the application, which has its own answer.
        assert client.post(path, content=bytes(size - 1)).status_code in (400, 401, 403, 415)


@pytest.mark.parametrize(("path", "kind"), [("/", "html"), (ENDPOINT, "json")])
def test_headers_and_address(stack: AnyStack, path: str, kind: str) -> None:
    with stack.client() as client:
        # Three of four buffers of 8 kB: a large cookie is no error.
        assert client.get(path, headers={f"X-Large-{n}": "x" * 8000 for n in range(3)}).status_code == 200
        error(client.get(path, headers={"X-Large": "x" * 9000}), 400, kind)
        error(client.get(path, headers={f"X-Large-{n}": "x" * 8000 for n in range(5)}), 400, kind)
        assert client.get(f"{path}?q={'x' * 7000}").status_code in (200, 400, 422)
        assert client.get(f"{path}?q={'x' * 9000}").status_code == 414


@pytest.mark.parametrize("host", ["evil.example", "OWN.evil.example", "", "OWN x"])
@pytest.mark.parametrize(("path", "kind"), [("/", "html"), (ENDPOINT, "json")])
def test_wrong_host(stack: AnyStack, host: str, path: str, kind: str) -> None:
    with stack.client() as client:
        response = client.get(path, headers={"Host": host.replace("OWN", stack.host)})
    error(response, 400, kind)
    assert not response.headers.get("X-Upstream"), "it reached an application"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/", {"GET"}),
        ("DELETE", "/accounts/login/", {"GET", "POST"}),
        ("GET", "/accounts/logout/", {"POST"}),
        ("GET", SITE_POST, {"POST"}),
        ("DELETE", ENDPOINT, {"GET"}),
        ("DELETE", API_POST, {"POST"}),
        ("PUT", f"{LIVE}/events", {"GET"}),
        ("POST", "/api/openapi.json", {"GET"}),
    ],
)
def test_wrong_method(stack: AnyStack, method: str, path: str, allowed: set[str]) -> None:
    cookies = {f"{'__Host-' if stack.tls else ''}tandem_csrf": CSRF}
    with stack.client(cookies=cookies, headers={"X-CSRFToken": CSRF, "Origin": stack.url}) as client:
        response = client.request(method, path)
    assert response.status_code == 405
    assert allowed <= {name.strip() for name in response.headers["Allow"].split(",")}
    assert method not in response.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "kind", "burst"),
    [
        ("/accounts/login/", "html", 11),
        ("/accounts/signup/", "html", 11),
        ("/admin/login/", "html", 11),
        (SITE_POST, "html", 31),
        (API_POST, "json", 31),
    ],
)
def test_too_fast(stack: AnyStack, path: str, kind: str, burst: int) -> None:
    with stack.client() as client, stack.client() as neighbour:
        responses = [client.post(path) for _ in range(burst + 15)]
        counts = Counter(response.status_code for response in responses)
        # What the burst allows, and what trickles in meanwhile.
        assert counts[429] > 0, counts
        assert counts.total() - counts[429] >= burst, counts
        refused = next(response for response in responses if response.status_code == 429)
        error(refused, 429, kind)
        assert int(refused.headers["Retry-After"]) > 0
        # Who only reads is not held back, and neither is anybody else.
        assert client.get("/").status_code == 200
        assert neighbour.post(path).status_code != 429


def test_who_heeds_retry_after_is_let_in(stack: AnyStack) -> None:
    with stack.client() as client:
        while (response := client.post("/accounts/login/")).status_code != 429:
            pass
        time.sleep(int(response.headers["Retry-After"]))
        assert client.post("/accounts/login/").status_code != 429


def median(client: httpx.Client, path: str) -> float:
    """Seconds of the median of 60 requests."""
    seconds = []
    for _ in range(60):
        started = time.perf_counter()
        assert client.get(path).status_code == 200
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def test_slow_clients_hold_up_nobody_and_are_cut(stack: AnyStack, people: Iterator[Person]) -> None:
    """As many slow headers and as many slow bodies, many times the workers there are."""
    host = f"Host: {stack.authority}\r\n"
    header = f"GET / HTTP/1.1\r\n{host}X-Slow: "
    bodies = [
        f"POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        for path in (SITE_POST, API_POST)
    ]
    paths = ("/accounts/login/", ENDPOINT)
    with stack.client() as client, ExitStack() as slow:
        alone = [median(client, path) for path in paths]
        connections = []
        for number in range(2 * SLOW):
            connection = slow.enter_context(stack.connect())
            connection.sendall((header if number < SLOW else bodies[number % 2]).encode())
            connections.append(connection)
        beside = [median(client, path) for path in paths]
        for before, with_slow_ones in zip(alone, beside, strict=True):
            assert with_slow_ones < 3 * before, (alone, beside)
        # Somebody who writes while these hold their connections is served.
        with next(people).client() as writer:
            assert write_by_api(writer).status_code == 201

        # Each is cut: an answer that says so, or nothing, and then the end. The timeout of 30 s is the deadline.
        for connection in connections:
            answer = b""
            try:
                while part := connection.recv(4096):
                    answer += part
            except ConnectionResetError:
                pass
            assert answer == b"" or b" 408 " in answer.partition(b"\r\n")[0], answer
