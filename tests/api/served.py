"""The app in this process, on a real socket and a real database."""

import itertools
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import sqlalchemy as sa
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.api.sample import SAMPLE, CounterStore, Subject
from tests.api.tokens import USERS
from tornado_api.app import assemble
from tornado_api.application import Application, Feature
from tornado_api.features import ABOUT, FEATURES
from tornado_api.limits import MAX_BODY
from tornado_api.openapi import About

PROJECT = Path(__file__).resolve().parents[2]


class Watched(Protocol):
    newest: str
    events: str


class Served:
    """An app that listens."""

    ids = itertools.count(1)
    # Everybody but the last one in turn.
    users = itertools.cycle(range(1, USERS))

    def __init__(self, app: Application, server: HTTPServer, port: int) -> None:
        self.app = app
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.client = httpx.AsyncClient(base_url=f"http://{self.address}", timeout=30)

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200

    async def fresh(self) -> Subject:
        """A counter at 0."""
        id = next(self.ids)
        await self.app.store(CounterStore).create(id)
        return Subject(id)

    async def write(self, subject: Subject, headers: dict[str, str] | None = None) -> httpx.Response:
        """Increment it as another user each time, or with these headers in place of a token."""
        request = subject.request(next(self.users))
        return await self.client.post(**(request if headers is None else request | {"headers": headers}))

    async def newest(self, subject: Watched) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get(subject.newest)).json()
        return answer

    @asynccontextmanager
    async def events(self, subject: Watched, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The blocks of an event stream, each as its fields. The name of a comment is empty."""
        async with self.client.stream("GET", subject.events, headers=headers) as response:
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


@asynccontextmanager
async def serve(
    database_url: str,
    redis_url: str = "",
    features: Sequence[Feature] = (*FEATURES, SAMPLE),
    about: About = ABOUT,
) -> AsyncIterator[Served]:
    """The project's own app and the sample's counters, or another app."""
    app = assemble(
        features,
        about,
        name="api",
        instance="api-a",
        database_url=sa.make_url(database_url),
        redis_url=redis_url,
        token_keys=dict(pair.split(":") for pair in os.environ["TOKEN_KEYS"].split(",")),
    )
    app.start()
    server = HTTPServer(app, xheaders=True, max_body_size=16 * MAX_BODY)
    sockets = bind_sockets(0, "127.0.0.1")
    # Small, so that a client that does not read is soon a slow one.
    sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    server.add_sockets(sockets)
    served = Served(app, server, sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        await served.client.aclose()
        server.stop()
        app.hub.drain()
        await server.close_all_connections()
        await app.stop()
