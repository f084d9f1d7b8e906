"""A socket server that finds where a request ends, and always answers the same: `python -m lab.scratch.always`.

This is what a web server costs before it understands anything. Of RFC 9112 it knows one thing: the head of a request
ends with an empty line (2.1). So it takes a body for the start of the next request, sends a body to HEAD and no Date
(RFC 9110, 6.6.1), never closes for who asks for that (9.6), and keeps an idle connection for ever. wsgi.py does these.
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
# Bytes of a request without its end, after which it is not waited for.
MAX_HEAD = 16_384
# Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
BACKLOG = 1024
# The signals that wake the parent: stop, and a child has died.
SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


def listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    # Several processes wake up for one connection, and those that come second must not wait in accept().
    listener.setblocking(False)
    # An answer that is more than one packet does not wait for the acknowledgement of its first (Nagle's algorithm,
    # RFC 896). Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def prefork(serve: Callable[[], None], processes: int) -> None:
    """Run `serve` in that many processes until SIGTERM, and replace each one that dies.

    Python runs one thread at a time in a process, so using every core takes a process for each. The processes inherit
    the listening socket, and the kernel gives each connection to one of those that accept.

    The signals stay blocked and sigwait() takes them one by one. A handler could run at any point: between fork() and
    add(), or again during the cleanup. A second SIGTERM within 0.3 ms of the first then left a child running, and
    listening on the port, in 30 of 100 stops.
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
            # Several children may have died: equal signals that wait are merged into one.
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
    """One thread, all connections: select() says which of them has something, and none is waited for.

    With a blocking recv() a client that keeps its connection would keep the process: four processes, four clients.
    """
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                # A sibling may have been faster, or the client gone again.
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
    """Answers every request that is whole; False when the connection is to be closed.

    What recv() returns has nothing to do with where requests end: it may be half of one, or, from a client that does
    not wait for answers (pipelining, 9.3.2), five and a half.
    """
    try:
        data = connection.recv(65_536)
        if not data:
            return False
        received += data
        *requests, rest = received.split(b"\r\n\r\n")
        received[:] = rest
        # Fails when the client takes nothing and the kernel's buffer is full: that client is given up.
        connection.sendall(RESPONSE * len(requests))
    except OSError:
        return False
    return len(rest) <= MAX_HEAD


if __name__ == "__main__":
    listener = listen(int(os.environ["PORT"]))
    prefork(lambda: serve(listener), int(os.environ["PROCESSES"]))
