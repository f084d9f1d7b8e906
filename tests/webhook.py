"""A server that takes what webhooks send."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

from tests.receiver import receiving


@contextmanager
def webhook(port: int) -> Iterator[Queue[Any]]:
    """Serve a webhook on all networks, for the block. The queue has the JSON that arrived."""
    received: Queue[Any] = Queue()
    with receiving(lambda _path, _headers, body: received.put(json.loads(body)), "", port):
        yield received
