"""A server that takes what webhooks send."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import Any


@contextmanager
def webhook(port: int) -> Iterator[Queue[Any]]:
    """Serve a webhook on all networks, for the block. The queue has the JSON that arrived."""
    received: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("", port), Handler) as server, ThreadPoolExecutor() as pool:
        pool.submit(server.serve_forever)
        try:
            yield received
        finally:
            server.shutdown()
