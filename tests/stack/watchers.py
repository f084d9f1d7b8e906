"""The three ways to watch, each as an iterator of states, which gives up when there is nothing new."""

import json
import time
from collections.abc import Iterator

import httpx
from websockets.sync.client import connect

from tests.sample import State
from tests.stacks import AnyStack

# Seconds after which a watcher that hears of no news gives up, with TimeoutError; at the next heartbeat.
PATIENCE = 15


def lines(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The blocks of an event stream, each as its fields; a comment has the name "" (HTML standard, 9.2.6)."""
    block: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")
        else:
            yield block
            block = {}


def events(stack: AnyStack, live: str) -> Iterator[State]:
    news = time.monotonic()
    with (
        stack.client(timeout=60) as client,
        client.stream("GET", f"{live}/events") as response,
    ):
        for block in lines(response):
            if "data" in block:
                yield json.loads(block["data"])
                news = time.monotonic()
            elif time.monotonic() - news > PATIENCE:
                raise TimeoutError


def messages(stack: AnyStack, live: str) -> Iterator[State]:
    with connect(
        f"{stack.url.replace('http', 'ws', 1)}{live}/socket",
        ssl=stack.tls,
        source_address=(next(stack.addresses), 0),
    ) as socket:
        while True:
            yield json.loads(socket.recv(timeout=PATIENCE))


def polls(stack: AnyStack, live: str) -> Iterator[State]:
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
