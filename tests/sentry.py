"""A server with the part of Sentry's API that takes reports: https://develop.sentry.dev/sdk/data-model/envelopes/"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from importlib import import_module
from queue import Queue
from typing import Any

from tests.receiver import receiving


class Receiver:
    """`reports` has what arrived: each a text, and the event in it."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://key@127.0.0.1:{port}/1"
        self.reports: Queue[tuple[str, Any]] = Queue()


@contextmanager
def receiver() -> Iterator[Receiver]:
    def take(path: str, headers: Message, body: bytes) -> None:
        # The client uses brotli where that is installed, and gzip elsewhere.
        module = {"br": "brotli", "gzip": "gzip"}[headers["Content-Encoding"]]
        text = import_module(module).decompress(body).decode()
        this.reports.put((text, json.loads(text.splitlines()[2])))

    with receiving(take) as port:
        this = Receiver(port)
        yield this
