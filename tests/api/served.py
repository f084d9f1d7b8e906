"""The api in this process, on a real socket and a database that Django migrated."""

import asyncio
import inspect
import itertools
import json
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import sqlalchemy as sa
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.environment import manage
from tornado_api import store
from tornado_api.app import Api
from tornado_api.limits import MAX_BODY

PROJECT = Path(__file__).resolve().parents[2]
VOTERS = 200


def migrate(database_url: str) -> None:
    """A database as Django makes it, with VOTERS users, whose ids begin at 1."""
    manage("migrate", "-v0", DATABASE_URL=database_url)
    users = f"User.objects.bulk_create(User(username=str(n)) for n in range({VOTERS}))"
    manage("shell", "-v0", "-c", f"from django.contrib.auth.models import User; {users}", DATABASE_URL=database_url)


def token(user: int = 1, *, key: str | None = None, key_id: str | None = None, **claims: Any) -> str:
    """What the site would sign for a user; a claim that is given as None is left out."""
    [(known_id, secret)] = [pair.split(":") for pair in os.environ["TOKEN_KEYS"].split(",")]
    now = int(time.time())
    whole = {"iss": "site", "aud": "api", "sub": str(user), "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex}
    payload = {name: value for name, value in (whole | claims).items() if value is not None}
    return jwt.encode(payload, key or secret, algorithm="HS256", headers={"kid": key_id or known_id})


def bearer(user: int = 1) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user)}"}


class Question:
    def __init__(self, id: int, choices: list[int]) -> None:
        self.id = id
        self.choices = choices
        self.results = f"/api/v1/questions/{id}/results"
        self.votes = f"/api/v1/questions/{id}/votes"
        self.events = f"/api/v1/live/questions/{id}/events"
        self.socket = f"/api/v1/live/questions/{id}/socket"
        self.poll = f"/api/v1/live/questions/{id}/poll"


class Served:
    """An Api that listens."""

    # Everybody but the last votes in turn.
    voters = itertools.cycle(range(1, VOTERS))

    def __init__(self, app: Api, server: HTTPServer, port: int) -> None:
        self.app = app
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.client = httpx.AsyncClient(base_url=f"http://{self.address}", timeout=30)

    async def ask(self, *choices: str, closes_at: datetime | None = None, text: str = "Tea?") -> Question:
        async with self.app.store.engine.begin() as connection:
            new = sa.insert(store.question).values(text=text, picture="", closes_at=closes_at)
            id = await connection.scalar(new.returning(store.question.c.id))
            ids = [
                await connection.scalar(
                    sa.insert(store.choice)
                    .values(question_id=id, text=text, position=position)
                    .returning(store.choice.c.id)
                )
                for position, text in enumerate(choices or ("Yes", "No"))
            ]
        return Question(id, ids)

    async def vote(
        self, question: Question, choice: int = 0, user: int | None = None, key: str | None = None
    ) -> httpx.Response:
        headers = bearer(user or next(self.voters)) | ({} if key is None else {"Idempotency-Key": key})
        return await self.client.post(question.votes, json={"choice": question.choices[choice]}, headers=headers)

    async def vote_elsewhere(self, question: Question) -> int:
        """A vote that another process took, and of which this one is told nothing; the new version."""
        return await self.app.store.vote(question.id, question.choices[0], next(self.voters))

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200

    async def results(self, question: Question) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get(question.results)).json()
        return answer

    @asynccontextmanager
    async def events(self, question: Question, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The blocks of an event stream, each as its fields; a comment's name is empty."""
        async with self.client.stream("GET", question.events, headers=headers) as response:
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


async def tally(events: AsyncIterator[dict[str, str]]) -> dict[str, Any]:
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
