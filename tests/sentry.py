"""A server with the part of Sentry's API that takes reports: https://develop.sentry.dev/sdk/data-model/envelopes/"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from queue import Queue
from threading import Thread
from typing import Any


class Receiver:
    """`reports` has what arrived: each a text, and the event in it."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://key@127.0.0.1:{port}/1"
        self.reports: Queue[tuple[str, Any]] = Queue()


@contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # The client uses brotli where that is installed, and gzip elsewhere.
            module = {"br": "brotli", "gzip": "gzip"}[self.headers["Content-Encoding"]]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            text = import_module(module).decompress(body).decode()
            this.reports.put((text, json.loads(text.splitlines()[2])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        this = Receiver(server.server_port)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield this
        finally:
            server.shutdown()
            thread.join()
