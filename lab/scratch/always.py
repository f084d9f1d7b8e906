"""A socket server that finds the end of a request and always answers the same: `python -m lab.scratch.always`.

This is the cost of a web server before it parses anything. It implements one rule of RFC 9112: an empty line ends the
headers of a request (2.1). So it treats a body as the start of the next request, sends a body to HEAD and no Date (RFC
9110, 6.6.1), never closes on request (9.6), and keeps an idle connection forever. wsgi.py implements these.
"""

import contextlib
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Callable
from typing import NoReturn

BODY = b"Hello, world!\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
# The server closes a connection after this many bytes without the end of a request.
MAX_HEAD = 16_384
# Connections that wait to be accepted. The kernel limits this to net.core.somaxconn.
BACKLOG = 1024
# The signals that wake the parent: stop, and a child has died.
SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


def listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    # Several processes wake up for one connection. Those that lose the race must not block in accept().
    listener.setblocking(False)
    # A response of more than one packet does not wait for the acknowledgement of its first packet (Nagle's algorithm,
    # RFC 896). Accepted sockets inherit this option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def prefork(serve: Callable[[], None], processes: int) -> None:
    """Run `serve` in this many processes until SIGTERM, and replace each process that dies.

    Python runs one thread of a process at a time, so using every core takes several processes. They inherit the
    listening socket, and the kernel gives each connection to one of them.

    The signals stay blocked, and sigwait() returns them one by one. A handler could run at any point: between fork()
    and add(), or again during the cleanup. Without this, a second SIGTERM within 0.3 ms of the first left a child
    running, and listening on the port, in 30 of 100 stops.
    """
    children: set[int] = set()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        while True:
            while len(children) < processes:
                if (child := os.fork()) == 0:
                    run_child(serve)
                children.add(child)
            if signal.sigwait(SIGNALS) == signal.SIGTERM:
                return
            # Several children may have died: the kernel merges equal pending signals.
            while children and (died := os.waitpid(-1, os.WNOHANG)[0]):
                children.remove(died)
    finally:
        for child in children:
            os.kill(child, signal.SIGTERM)
        for child in children:
            os.waitpid(child, 0)


def run_child(serve: Callable[[], None]) -> NoReturn:
    """Run `serve` and end the process. Returning would run the parent's `finally` in the child."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        serve()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def serve(listener: socket.socket) -> None:
    """Serve all connections in one thread: select() reports those with data, and the process waits for none of them.

    With a blocking recv(), a client that keeps its connection would occupy the process: four processes, four clients.
    """
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                # Another process may have accepted it, or the client disconnected.
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, bytearray())
                continue
            assert isinstance(key.fileobj, socket.socket)
            if not answer(key.fileobj, key.data):
                selector.unregister(key.fileobj)
                key.fileobj.close()


def answer(connection: socket.socket, received: bytearray) -> bool:
    """Answer every complete request. Return False if the connection must be closed.

    recv() does not return whole requests. It may return half of one, or five and a half from a client that does not
    wait for responses (pipelining, 9.3.2).
    """
    try:
        data = connection.recv(65_536)
        if not data:
            return False
        received += data
        *requests, rest = received.split(b"\r\n\r\n")
        received[:] = rest
        # Fails when the client reads nothing and the kernel's buffer is full. The server then closes the connection.
        connection.sendall(RESPONSE * len(requests))
    except OSError:
        return False
    return len(rest) <= MAX_HEAD


if __name__ == "__main__":
    listener = listen(int(os.environ["PORT"]))
    prefork(lambda: serve(listener), int(os.environ["PROCESSES"]))
