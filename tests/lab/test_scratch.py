"""lab/scratch/always.py and wsgi.py on real sockets, and the application's view of a request, by wsgiref.validate."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest

from deploy.core.apps import PROJECT
from tests.servers import free_port

ALWAYS = "import runpy; runpy.run_module('lab.scratch.always', {}, '__main__')"
WSGI = "from lab.scratch import request; request.TIMEOUT = 1; " + ALWAYS.replace("always", "wsgi")
closed: list[bytes] = []


class Pieces(list[bytes]):
    def close(self) -> None:
        closed.append(b"closed")


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path, headers = environ["PATH_INFO"], [("Content-Type", "text/plain")]
    if path == "/before":
        raise OSError
    write = start_response("200 OK", headers + [("Content-Length", path[6:])] * path.startswith("/says-"))
    if path == "/again":
        start_response("404 Not Found", headers, (ValueError, ValueError(), None))  # type: ignore[arg-type]
    write(b"written, " * (path == "/write"))
    time.sleep(0.6 * (path == "/slow"))
    bodies: dict[str, Callable[[], Iterable[bytes]]] = {
        "/echo": lambda: [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))],
        "/after": lambda: (b"%d" % (1 // (2 - n)) for n in range(1, 3)),
        "/stream": lambda: Pieces([b"one", b"two"]),
        "/closed": lambda: [b"".join(closed)],
    }
    return bodies.get(path, lambda: [b"ok"])()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Without the validator, which returns the body piece by piece where the server must get a list."""
    return (plain if environ["PATH_INFO"] == "/" else validator(plain))(environ, start_response)


@contextlib.contextmanager
def server(program: str) -> Iterator[tuple[int, Callable[[], None]]]:
    """Start a server. Yield its port and a function that stops it."""
    # Below the ephemeral range: no client and no other server gets this port, even after the server has stopped.
    port = free_port()
    command = [sys.executable, "-c", program, "tests.lab.test_scratch:application"]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"PORT": str(port), "PROCESSES": "1"})
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield port, process.terminate
    finally:
        process.terminate()
        process.wait(5)


def talk(port: int, *parts: bytes) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(0.1 if len(parts) > 1 else 0)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def ask(path: str, *headers: str, method: str = "GET", last: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: t", *headers, *["Connection: close"] * last]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("program", [ALWAYS, WSGI])
def test_requests_begin_and_end_anywhere(program: str) -> None:
    one = ask("/", last=False)
    with server(program) as (port, stop), socket.create_connection(("127.0.0.1", port), 5) as client:
        with socket.create_connection(("127.0.0.1", port)):  # a silent client delays nobody
            for part in (one[:7], one[7:-1], one[-1:] + one + one[:5]):
                client.sendall(part)
                time.sleep(0.1)
            assert client.recv(65_536).count(b"HTTP/1.1 200 OK\r\n") == 2
        stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("delay", [n / 100_000 for n in range(0, 30, 3)])
def test_a_second_sigterm_leaves_no_child(delay: float) -> None:
    """With a signal handler, the second SIGTERM interrupted the cleanup in 30 of 100 stops."""
    with server(ALWAYS) as (port, stop):
        stop()
        until = time.perf_counter() + delay
        while time.perf_counter() < until:
            pass
        stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_stop_waits_for_the_request_under_way() -> None:
    with server(WSGI) as (port, stop), socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(ask("/slow", last=False))
        time.sleep(0.2)
        stop()
        assert b"".join(iter(lambda: client.recv(65_536), b"")).endswith(b"\r\nok\r\n0\r\n\r\n")


REFUSED = {
    b"GET / HTTP/1.1\r\n\r\n": 400,
    ask("/", "Host: another"): 400,
    ask("/", "X : a"): 400,
    ask("/", "X: a", " folded"): 400,
    ask("/", "X: a\nContent-Length: 9"): 400,
    ask("/", "Content-Length: 1", "Content-Length: 2"): 400,
    ask("/", "Content-Length: +1"): 400,
    ask("/", "Transfer-Encoding: chunked", "Content-Length: 0"): 411,
    ask("/", "Content-Length: 9999999"): 413,
    ask("/", f"X: {20_000 * 'x'}"): 431,
    ask("/", "Transfer-Encoding: gzip"): 501,
    b"GET / HTTP/2.0\r\nHost: t\r\n\r\n": 505,
    ask("/")[:-3]: 408,
}


def test_ambiguous_or_large_requests_are_rejected() -> None:
    with server(WSGI) as (port, _):
        for sent, status in REFUSED.items():
            answers = talk(port, sent + (b"" if status == 408 else ask("/")))
            assert re.findall(rb"^HTTP/1.1 (\d+)", answers, re.M) == [b"%d" % status], sent


ANSWERS = [
    (ask("/"), "200", "Content-Length: 2\r\nConnection: close\r\n\r\nok"),
    (ask("/", method="HEAD"), "200", "Content-Length: 2\r\nConnection: close\r\n\r\n"),
    (b"GET /write HTTP/1.0\r\n\r\n", "200", "\r\n\r\nwritten, ok"),
    (ask("/stream"), "200", "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
    (ask("/closed"), "200", "\r\nclosed\r\n0\r\n\r\n"),
    (ask("/again"), "404", "\r\nok\r\n0\r\n\r\n"),
    (ask("/before", last=False) + ask("/"), "500", "\r\n500 Internal Server Error\n"),
    # An incomplete response is the last one on its connection, and does not look complete.
    (ask("/after", last=False) + ask("/"), "200", "\r\n\r\n1\r\n1\r\n"),
    (ask("/says-3", last=False) + ask("/write"), "200", "\r\n\r\nok"),
]


def test_answers() -> None:
    with server(WSGI) as (port, _):
        for sent, status, end in ANSWERS:
            assert re.fullmatch(rf"HTTP/1.1 {status} .*{re.escape(end)}", talk(port, sent).decode(), re.S), (sent, end)
        answer = talk(port, ask("http://t/echo?x", "Content-Length: 3", "Expect: 100-continue"), b"ab", b"c")
        assert re.fullmatch(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 .*\r\n3\r\nabc\r\n0\r\n\r\n", answer, re.S)
