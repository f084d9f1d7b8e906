"""The three ways to watch, each as an iterator of tallies, which raises TimeoutError when no new one comes."""

import json
import time
from collections.abc import Iterator

from websockets.sync.client import connect

from tests.sample import State
from tests.stack.api.polls.test_live import blocks_of
from tests.stacks import Stack

# Seconds without a new tally.
PATIENCE = 15


def events(stack: Stack, live: str) -> Iterator[State]:
    news = time.monotonic()
    with (
        stack.client(timeout=60) as client,
        client.stream("GET", f"{live}/events") as response,
    ):
        for block in blocks_of(response):
            if "data" in block:
                yield json.loads(block["data"])
                news = time.monotonic()
            elif time.monotonic() - news > PATIENCE:
                raise TimeoutError


def messages(stack: Stack, live: str) -> Iterator[State]:
    with connect(
        f"{stack.url.replace('http', 'ws', 1)}{live}/socket",
        ssl=stack.tls,
        source_address=(next(stack.addresses), 0),
    ) as socket:
        while True:
            yield json.loads(socket.recv(timeout=PATIENCE))


def long_polls(stack: Stack, live: str) -> Iterator[State]:
    version = -1
    with stack.client(timeout=60) as client:
        while True:
            answer = client.get(f"{live}/poll", params={"after": version, "wait": 15 if version >= 0 else 0})
            if answer.status_code == 204:
                raise TimeoutError
            answer.raise_for_status()
            state = answer.json()
            version = state["version"]
            yield state
