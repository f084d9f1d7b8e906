"""Requests that are too large, too many or too slow."""

import statistics
import time
from collections import Counter
from contextlib import ExitStack

import httpx
import pytest

from deploy.core.apps import App
from deploy.core.probe import UNCACHED
from tests.stack.checks import LISTENING, MB, check_error, each_app, error_kind, is_from, upstream
from tests.stacks import Stack

SLOW = 100


@each_app
def test_body_too_large(stack: Stack, app: App) -> None:
    limit = int(stack.setting("UPLOAD_LIMIT_MB")) * MB
    with stack.client() as client:
        check_error(client.post(app.prefix, content=bytes(limit + 1)), 413, error_kind(app))


@each_app
def test_headers_and_address(stack: Stack, app: App) -> None:
    kind = error_kind(app)
    with stack.client(headers=UNCACHED) as client:
        # Three of four buffers of 8 kB: a large cookie is no error.
        assert is_from(client.get(app.prefix, headers={f"X-Large-{n}": "x" * 8000 for n in range(3)}), app)
        check_error(client.get(app.prefix, headers={"X-Large": "x" * 9000}), 400, kind)
        check_error(client.get(app.prefix, headers={f"X-Large-{n}": "x" * 8000 for n in range(5)}), 400, kind)
        assert is_from(client.get(f"{app.prefix}?q={'x' * 7000}"), app)
        assert client.get(f"{app.prefix}?q={'x' * 9000}").status_code == 414


@pytest.mark.parametrize("host", ["evil.example", "OWN.evil.example", "", "OWN x"])
@each_app
def test_wrong_host(stack: Stack, host: str, app: App) -> None:
    with stack.client() as client:
        response = client.get(app.prefix, headers={"Host": host.replace("OWN", stack.host)})
    check_error(response, 400, error_kind(app))
    assert not upstream(response), "it reached an app"


def check_rate(stack: Stack, path: str, kind: str, burst: int) -> None:
    """Check that a client may send `burst` POSTs at once, that more get 429, and that nothing else is limited."""
    with stack.client() as client, stack.client() as neighbour:
        responses = [client.post(path) for _ in range(burst + 15)]
        counts = Counter(response.status_code for response in responses)
        # The burst, and the requests that the rate admits during it.
        assert counts[429] > 0, counts
        assert counts.total() - counts[429] >= burst, counts
        rejected = next(response for response in responses if response.status_code == 429)
        check_error(rejected, 429, kind)
        assert int(rejected.headers["Retry-After"]) > 0
        # The client may still read, and another client may still write.
        assert client.get(path).status_code != 429
        assert neighbour.post(path).status_code != 429


@each_app
def test_too_many_writes(stack: Stack, app: App) -> None:
    check_rate(stack, app.prefix, error_kind(app), burst=31)


def median(client: httpx.Client, path: str) -> float:
    """Return the median time of 60 requests, in seconds."""
    seconds = []
    for _ in range(60):
        started = time.perf_counter()
        assert client.get(path).status_code < 500
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def test_slow_clients_delay_nobody_and_are_disconnected(stack: Stack) -> None:
    """Clients that send headers or bodies slowly: SLOW of each, many times the number of workers."""
    paths = [app.prefix for app in LISTENING]
    host = f"Host: {stack.authority}\r\n"
    header = f"GET / HTTP/1.1\r\n{host}X-Slow: "
    bodies = [
        f"POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        for path in paths
    ]
    with stack.client() as client, ExitStack() as slow:
        alone = [median(client, path) for path in paths]
        connections = []
        for number in range(2 * SLOW):
            connection = slow.enter_context(stack.connect())
            connection.sendall((header if number < SLOW else bodies[number % len(bodies)]).encode())
            connections.append(connection)
        beside = [median(client, path) for path in paths]
        for before, with_slow_ones in zip(alone, beside, strict=True):
            assert with_slow_ones < 3 * before, (alone, beside)
        # In the meantime, a client that sends a whole body is served.
        for app in LISTENING:
            assert is_from(client.post(app.prefix, content=b"{}"), app)

        # nginx disconnects each slow client, with a 408 or without an answer, within the connection's 30 s.
        for connection in connections:
            answer = b""
            try:
                while part := connection.recv(4096):
                    answer += part
            except ConnectionResetError:
                pass
            assert answer == b"" or b" 408 " in answer.partition(b"\r\n")[0], answer
