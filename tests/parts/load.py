"""A small load that needs no sample app: clients that GET some paths again and again."""

import threading
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import httpx

from deploy.core.probe import UNCACHED
from tests.stacks import Stack

CLIENTS = 4
# Seconds between the requests of a client. Without it, the clients take the processors from the roll, which then takes
# several times as long.
PAUSE = 0.05


class Requests:
    """Send requests during the block. `failed` counts responses from 500 up and broken connections."""

    def __init__(self, stack: Stack, paths: Iterable[str]) -> None:
        self.stack = stack
        self.paths = list(paths)
        self.stopping = threading.Event()
        self.sent = 0
        self.resent = 0
        self.failed: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self) -> None:
        with self.stack.client(headers=UNCACHED) as client:
            while not self.stopping.is_set():
                for path in self.paths:
                    self.stopping.wait(PAUSE)
                    failure = self.get(client, path)
                    with self.lock:
                        self.sent += 1
                        self.failed.update([failure] if failure else [])

    def get(self, client: httpx.Client, path: str) -> str:
        """Return how a request failed; empty if it did not."""
        try:
            response = client.get(path)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # nginx closes idle connections when it reloads. A client may repeat a request that arrives on a closing
            # connection (RFC 9112, 9.3.1). Browsers do.
            with self.lock:
                self.resent += 1
            try:
                response = client.get(path)
            except httpx.HTTPError as error:
                return f"{path}: {error!r}"
        return f"{path}: {response.status_code}" if response.status_code >= 500 else ""
