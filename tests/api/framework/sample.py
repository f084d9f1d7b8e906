"""A feature for the tests: counters to read, increment and watch, and a WebSocket that echoes.

It uses everything that tornado_api offers to a feature, so that the tests need no other one.
"""

import asyncio
import itertools
from collections.abc import Iterable
from contextlib import closing
from typing import Annotated, Any

import httpx
import msgspec

from tests.api import databases
from tests.api.served import Served
from tests.api.tokens import USERS, VOTERS, bearer
from tornado_api.app import make
from tornado_api.application import Application, Feature
from tornado_api.auth import Token
from tornado_api.database import AUTHORIZED, Database, NoUser, connect
from tornado_api.features import FEATURES
from tornado_api.handler import ResourceHandler
from tornado_api.live import Gone
from tornado_api.openapi import About, Operation, Section, content, version_header, watch_operations
from tornado_api.problem import ProblemError
from tornado_api.schemas import Key, Version
from tornado_api.watching import watch_routes
from tornado_api.websocket import TwoWayWebSocketHandler

TABLES = [
    *databases.TABLES,
    "CREATE TABLE sample_counter (store text, id bigint, version bigint NOT NULL, PRIMARY KEY (store, id))",
]
VERSIONS = "SELECT id, version FROM sample_counter WHERE store = :store AND id IN :ids"
INCREMENT = f"""
    UPDATE sample_counter SET version = version + 1 WHERE store = :store AND id = :id AND {AUTHORIZED} RETURNING version
"""  # noqa: S608


class Counter(msgspec.Struct):
    id: int
    version: Version
    total: Annotated[int, msgspec.Meta(description="How often it was incremented")]


class Increment(msgspec.Struct, forbid_unknown_fields=True):
    by: int


class TooLarge(Exception):
    pass


class CounterStore:
    name = "counters"

    def __init__(self, database: Database) -> None:
        self.database = database

    async def state(self, id: int) -> Counter:
        """Raises Gone."""
        versions = await self.versions([id])
        if id not in versions:
            raise Gone
        return Counter(id, versions[id], versions[id])

    async def versions(self, ids: Iterable[int]) -> dict[int, int]:
        return dict(await self.database.read(VERSIONS, store=self.name, ids=list(ids)))

    async def create(self, id: int) -> None:
        new = "INSERT INTO sample_counter VALUES (:store, :id, 0) ON CONFLICT DO NOTHING"
        await self.database.execute(new, store=self.name, id=id)

    async def increment(self, id: int, token: Token) -> int:
        """Return the new version. Raises Gone, NoUser."""
        values = {"store": self.name, "id": id, "user": token.user_id, "token": token.id}
        for (version,) in await self.database.execute(INCREMENT, **values):
            return int(version)
        raise NoUser if await self.versions([id]) else Gone


class GaugeStore(CounterStore):
    """A second model. Its ids are the same as those of counters."""

    name = "gauges"


class CounterHandler(ResourceHandler):
    async def get(self, id: str) -> None:
        self.answer_newest(await self.share(self.application.store(CounterStore).state, int(id)))

    async def post(self, id: str) -> None:
        token = self.token()
        self.idempotency_key()
        if self.body(Increment).by > 1:
            raise TooLarge
        store = self.application.store(CounterStore)
        version = await store.increment(int(id), token)
        self.application.bus.publish(f"{store.name}:{id}")
        self.set_status(201)
        self.answer(Counter(int(id), version, version))


class EchoHandler(TwoWayWebSocketHandler):
    """Echoes each message, unless the message tells it to fail or to wait."""

    async def opened(self) -> None:
        self.send(f"hello {self.user_id}")

    async def received(self, message: str | bytes) -> None:
        if message == "fail":
            raise RuntimeError("as the test asked")
        if message == "wait":
            await asyncio.sleep(0.5)
        self.send(message)


COUNTER = r"counters/([0-9]{1,18})"
EACH = "/api/v1/counters/{id}"
SAMPLE = Feature(
    routes=[
        (rf"/api/v1/{COUNTER}", CounterHandler),
        *watch_routes(rf"/api/v1/live/{COUNTER}", lambda id: f"counters:{id}"),
        *watch_routes(r"/api/v1/live/gauges/([0-9]{1,18})", lambda id: f"gauges:{id}"),
        (r"/api/v1/sockets/echo", EchoHandler),
    ],
    problems={TooLarge: ProblemError(422, "One at a time.")},
    stores=[CounterStore, GaugeStore],
    section=Section(
        [
            Operation(
                "get",
                EACH,
                "readCounter",
                "Read a counter",
                "Its version is the ETag.",
                "/api/v1/counters/1",
                {
                    200: {
                        "description": "The counter",
                        "content": content(Counter),
                        "headers": version_header("Version"),
                    }
                },
                (404,),
            ),
            Operation(
                "post",
                EACH,
                "incrementCounter",
                "Increment a counter",
                "By one.",
                "--json '{\"by\": 1}' /api/v1/counters/1",
                {201: {"description": "The counter", "content": content(Counter)}},
                (401, 404, 413, 415, 422),
                headers={"Idempotency-Key": Key},
                body=Increment,
            ),
            Operation(
                "get",
                "/api/v1/sockets/echo",
                "echo",
                "Echo",
                "A two-way WebSocket.",
                "--http1.1 /api/v1/sockets/echo",
                {101: {"description": "The WebSocket is open"}},
                (401, 403, 426),
            ),
            *watch_operations("counter", "/api/v1/live/counters/{id}", "a counter", Counter),
            *watch_operations("gauge", "/api/v1/live/gauges/{id}", "a gauge", Counter),
        ],
        [Counter, Increment],
        {404: "There is no such counter"},
    ),
)
IDS = itertools.count(1)
ALL = [*FEATURES, SAMPLE]
ABOUT = About("Sample", "Counters.", "/api/")


class Subject:
    """The paths and the live channel of one counter."""

    def __init__(self, id: int, kind: str = "counters") -> None:
        self.id = id
        self.channel = f"{kind}:{id}"
        self.newest = self.post = f"/api/v1/{kind}/{id}"
        self.events, self.socket, self.long_poll = (
            f"/api/v1/live/{kind}/{id}/{way}" for way in ("events", "socket", "poll")
        )

    def request(self, user: int) -> dict[str, Any]:
        """Return the arguments for httpx of a request that increments it."""
        return {"url": self.post, "json": {"by": 1}, "headers": bearer(user)}


async def fresh(api: Served) -> Subject:
    """Return a new counter, at 0."""
    id = next(IDS)
    await api.app.store(CounterStore).create(id)
    return Subject(id)


async def write(api: Served, subject: Subject, headers: dict[str, str] | None = None) -> httpx.Response:
    """Increment a counter, each time as another user, or with these headers instead of a token."""
    request = subject.request(next(VOTERS))
    return await api.client.post(**(request if headers is None else request | {"headers": headers}))


def create_tables(database_url: str) -> None:
    """Make the tables of the sample, and USERS users, whose ids begin at 1."""
    with closing(connect(database_url)) as connection, connection.transaction():
        for table in TABLES:
            connection.execute(table)
        for n in range(USERS):
            connection.execute("INSERT INTO accounts_user VALUES (:id, TRUE)", id=n + 1)


def application() -> Application:
    """The app that gunicorn serves in tests."""
    return make([SAMPLE], ABOUT)
