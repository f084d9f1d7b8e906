"""Read the newest state of a resource, and a watcher's event stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx

from tests.api.served import Served


class Watched(Protocol):
    newest: str
    events: str


async def newest(api: Served, subject: Watched) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.client.get(subject.newest)).json()
    return answer


@asynccontextmanager
async def watch(api: Served, subject: Watched, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Yield the blocks of an event stream, each as its fields. The name of a comment is empty."""
    async with api.client.stream("GET", subject.events, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield blocks(response)


async def blocks(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
    block: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name] = value.strip()
        else:
            yield block
            block = {}


async def news(events: AsyncIterator[dict[str, str]]) -> dict[str, Any]:
    """The next state of an event stream."""
    async for block in events:
        if "data" in block:
            found: dict[str, Any] = json.loads(block["data"])
            assert block["id"] == str(found["version"])
            return found
    raise AssertionError("the stream ended")
