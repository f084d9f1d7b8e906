"""An example of what an api has, to be replaced by your own: waves, which are counted, sent and watched."""

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, ForeignKey, String, Table
from sqlalchemy.exc import IntegrityError

from .database import Database, NoUser, metadata, user
from .handlers import Resource, Route, live
from .openapi import Operation, content, text, version_header
from .openapi import live as live_operations
from .problem import ProblemError
from .schemas import Key, Version

# The key of what is watched, as the site knows it too: there is one number.
WAVES = 0

wave = Table(
    "home_wave",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("user_id", ForeignKey("auth_user.id")),
    Column("key", String(64), nullable=False),
)


class Total(msgspec.Struct):
    """The number of waves. State, not an event: the newest replaces all before."""

    version: Version
    total: int


class Store(Database):
    async def state(self, key: int) -> Total:
        total = await self.total()
        return Total(total, total)

    async def versions(self, keys: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(keys, await self.total())

    async def total(self) -> int:
        # Reads them all: where there are to be many, keep their number in a row of its own.
        async with self.connect(self.reads) as connection:
            return (await connection.execute(sa.select(sa.func.count()).select_from(wave))).scalar_one()

    async def wave(self, user_id: int, key: str) -> None:
        """Counts once, however often it is sent with this key. Raises NoUser."""
        check = sa.select(sa.exists().where(user.c.id == user_id, user.c.is_active))
        # The constraint, not a read before, finds one that was sent before: there is no moment in between.
        insert = (
            self.insert(wave).values(user_id=user_id, key=key).on_conflict_do_nothing(index_elements=["user_id", "key"])
        )
        async with self.connect(self.engine) as connection:
            if not await connection.scalar(check):
                raise NoUser
            try:
                await connection.execute(insert)
            except IntegrityError as error:
                raise NoUser from error
            await connection.commit()


class Waves(Resource):
    async def get(self) -> None:
        self.answer_newest(await self.application.store.state(WAVES))

    async def post(self) -> None:
        user_id, key = self.user(), self.idempotency_key()
        if not key:
            raise ProblemError(400, "This needs an Idempotency-Key: your name for this wave.")
        await self.application.store.wave(user_id, key)
        self.application.bus.publish(WAVES)
        self.set_status(201)
        self.answer(await self.application.store.state(WAVES))


ROUTES: list[Route] = [(r"/api/v1/waves", Waves), *live(r"/api/v1/live/waves", lambda: WAVES)]

ETAG = version_header("The number's version")
OPERATIONS = [
    Operation(
        "get",
        "/api/v1/waves",
        "readWaves",
        "Count waves",
        "As the database has them now. The version is the ETag: send it back, get 304 while nothing changed.",
        "-H 'If-None-Match: \"12\"' /api/v1/waves",
        {
            200: {"description": "Their number", "content": content(Total), "headers": ETAG},
            304: {"description": "It is the one that you have", "headers": ETAG},
        },
        (),
        headers={"If-None-Match": text("The ETag that you have")},
    ),
    Operation(
        "post",
        "/api/v1/waves",
        "wave",
        "Wave",
        "The site gives you a token, on your account's page. If no answer comes, send the wave again with the same "
        "Idempotency-Key: it counts once, and each time the answer is 201.",
        "-X POST -H \"Authorization: Bearer $TOKEN\" -H 'Idempotency-Key: 5f0c7a2e' /api/v1/waves",
        {201: {"description": "The wave counts", "content": content(Total)}},
        (401, 413, 429),
        headers={"Idempotency-Key": Key},
        required_headers=("Idempotency-Key",),
    ),
    *live_operations("watch", "/api/v1/live/waves", "the number of waves", Total),
]
TYPES: list[type[msgspec.Struct]] = [Total]
