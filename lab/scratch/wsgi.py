"""A WSGI server on sockets: `python -m lab.scratch.wsgi module:callable`, on PORT, with PROCESSES processes.

request.py parses the connection's data. This file has the application's side (PEP 3333) and the processes.

In each process, one thread watches all connections and calls the application for each complete request with its body. A
client that sends slowly, or sends nothing, costs a buffer, and no time of the application. A client that reads its
response slowly occupies the process, for at most TIMEOUT.
"""

import contextlib
import os
import re
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from importlib import import_module
from types import TracebackType
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.util import is_hop_by_hop

from lab.scratch.always import listen, prefork
from lab.scratch.request import Connection, Refused

# Seconds after SIGTERM for requests that have begun to arrive, and between two checks for overdue connections.
GRACE, TICK = 1.0, 0.2

Headers = list[tuple[str, str]]
Write = Callable[[bytes], None]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class Gone(Exception):
    """The client disconnected during its response."""


class Answer:
    """One call of the application. `keep`: the connection may carry another request."""

    def __init__(self, connection: Connection, environ: WSGIEnvironment, keep: bool) -> None:
        self.connection, self.environ = connection, environ
        asked = re.split("[ ,\t]+", environ.get("HTTP_CONNECTION", "").lower())
        self.keep = keep and environ["SERVER_PROTOCOL"] != "HTTP/1.0" and "close" not in asked
        self.status = ""
        self.headers: Headers = []
        # Whether the headers were sent; whether the body is chunked; whether it has none; the remaining bytes of
        # Content-Length.
        self.begun = self.chunked = self.empty = False
        self.left: int | None = None

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        if exc_info and exc_info[1] and self.begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise AssertionError("start_response() was called before")
        if any(is_hop_by_hop(name) for name, _ in headers):
            raise AssertionError("the connection is the server's")
        if re.search("[\r\n\0]", status + "".join(map("".join, headers))):
            raise ValueError("a line break in a header begins another one")
        self.status, self.headers = status, list(headers)
        return self.write

    def write(self, data: bytes, size: int | None = None) -> None:
        """Keep the headers until the first bytes of the body: the application may still change the response to a 500.

        `size`: of the whole body, if it is known.
        """
        if not self.status:
            raise AssertionError("start_response() was not called")
        if not data:
            return
        head = b"" if self.begun else self.head(size)
        if self.left is not None and not self.empty:
            self.left -= len(data)
            if self.left < 0:
                raise AssertionError("more than Content-Length says")
        body = b"" if self.empty else b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        self.send(head + body)

    def head(self, size: int | None) -> bytes:
        self.begun = True
        given = {name.lower(): value for name, value in self.headers}
        # These never have a body. A response to HEAD has the headers of one (RFC 9112, 6.3).
        bodiless = self.status[:3] in ("204", "304")
        self.empty = bodiless or self.environ["REQUEST_METHOD"] == "HEAD"
        added = [] if "date" in given else [("Date", formatdate(usegmt=True))]
        if "content-length" in given:
            self.left = int(given["content-length"])
        elif size is not None and not bodiless:
            self.left = size
            added.append(("Content-Length", str(size)))
        elif not self.empty and self.environ["SERVER_PROTOCOL"] != "HTTP/1.0":
            self.chunked = True
            added.append(("Transfer-Encoding", "chunked"))
        if not self.keep:
            added.append(("Connection", "close"))
        fields = "".join(f"{name}: {value}\r\n" for name, value in [*self.headers, *added])
        return f"HTTP/1.1 {self.status}\r\n{fields}\r\n".encode("latin-1")

    def send(self, data: bytes) -> None:
        try:
            self.connection.client.sendall(data)
        except OSError as error:
            raise Gone from error

    def run(self, application: WSGIApplication) -> bool:
        """Return whether the connection stays open."""
        try:
            result = application(self.environ, self.start_response)
            try:
                # "Handling the Content-Length Header": a list with one item is the whole body.
                alone = isinstance(result, (list, tuple)) and len(result) == 1
                for data in result:
                    self.write(data, len(data) if alone else None)
                if not self.status:
                    raise AssertionError("start_response() was not called")
                if not self.begun:
                    self.send(self.head(None if self.environ["REQUEST_METHOD"] == "HEAD" else 0))
                if self.chunked:
                    self.send(b"0\r\n\r\n")
            finally:
                # In any case: this closes files and returns database connections.
                if hasattr(result, "close"):
                    result.close()
        except Gone:
            return False
        except Exception:
            traceback.print_exc()
            if not self.begun:
                self.connection.refuse("500 Internal Server Error")
            # Otherwise the client has part of a response and would take the next one for the rest.
            return not self.begun
        return self.keep and (self.empty or not self.left)


def turn(connection: Connection, application: WSGIApplication, keep: bool) -> bool:
    """Receive data and answer complete requests. Return False when the connection ends."""
    if not connection.receive():
        return False
    try:
        # There may be several, from a client that does not wait for responses (pipelining, RFC 9112, 9.3.2).
        while not connection.refused and (environ := connection.next_request()):
            if not Answer(connection, environ, keep).run(application):
                return False
            connection.since = time.monotonic()
    except Refused as refused:
        connection.refuse(str(refused))
    return True


def serve(listener: socket.socket, application: WSGIApplication) -> None:
    """Serve until SIGTERM, then finish running requests. Connections in the queue may be reset."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    stopping: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(time.monotonic()))
    look = 0.0
    while not stopping or (selector.get_map() and time.monotonic() < stopping[0] + GRACE):
        for key, _ in selector.select(TICK):
            if key.data is None:
                # Another process may have accepted it, or the client disconnected.
                with contextlib.suppress(OSError):
                    client, (host, _) = listener.accept()
                    selector.register(client, selectors.EVENT_READ, Connection(client, host))
            elif not turn(key.data, application, keep=not stopping):
                selector.unregister(key.fileobj)
                key.data.client.close()
        if stopping and listener in selector.get_map():
            selector.unregister(listener)
        if time.monotonic() >= look:
            look = time.monotonic() + TICK
            for connection in [key.data for key in selector.get_map().values() if key.data]:
                if not connection.overdue and not (stopping and connection.idle):
                    continue
                if connection.idle or connection.refused:
                    selector.unregister(connection.client)
                    connection.client.close()
                else:
                    connection.refuse("408 Request Timeout")


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    # Load it before the fork: the processes share its memory until they write to it.
    application: WSGIApplication = getattr(import_module(module), name)
    listener = listen(int(os.environ["PORT"]))
    prefork(lambda: serve(listener, application), int(os.environ["PROCESSES"]))
