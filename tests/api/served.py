"""The api in this process, on a real socket and a database that Django migrated."""

import asyncio
import inspect
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.api.sample import Sample, Subject
from tests.api.tokens import USERS
from tests.environment import manage
from tornado_api.app import Api
from tornado_api.limits import MAX_BODY

PROJECT = Path(__file__).resolve().parents[2]


def migrate(database_url: str) -> None:
    """A database as Django makes it, with USERS users, whose ids begin at 1."""
    manage("migrate", "-v0", DATABASE_URL=database_url)
    users = f"User.objects.bulk_create(User(username=str(n)) for n in range({USERS}))"
    manage("shell", "-v0", "-c", f"from django.contrib.auth.models import User; {users}", DATABASE_URL=database_url)


class Served(Sample):
    """An Api that listens."""

    def __init__(self, app: Api, server: HTTPServer, port: int) -> None:
        self.app = app
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.client = httpx.AsyncClient(base_url=f"http://{self.address}", timeout=30)

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200

    @asynccontextmanager
    async def events(self, subject: Subject, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The blocks of an event stream, each as its fields; a comment's name is empty."""
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
    """The next of an event stream that has data."""
    async for block in events:
        if "data" in block:
            found: dict[str, Any] = json.loads(block["data"])
            assert block["id"] == str(found["version"])
            return found
    raise AssertionError("the stream ended")


async def until(condition: Callable[[], Any]) -> None:
    """Returns when the condition, which may be a coroutine, is met; raises TimeoutError after 15 s."""
    async with asyncio.timeout(15):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serve(database_url: str, redis_url: str = "") -> AsyncIterator[Served]:
    keys = dict(pair.split(":") for pair in os.environ["TOKEN_KEYS"].split(","))
    app = Api(sa.make_url(database_url), redis_url, keys, "a")
    app.start()
    server = HTTPServer(app, xheaders=True, max_body_size=16 * MAX_BODY)
    sockets = bind_sockets(0, "127.0.0.1")
    # Room for little more than what tests find: a watcher is soon a slow one.
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
