"""Revoked tokens: the list that this process checks before it reads, without a query.

A statement that writes checks the database instead (database.AUTHORIZED).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from .auth import LEEWAY, Token
from .bus import Outage
from .database import TOKENS, USERS, Connection, Database, NoUser, Row, Unavailable

# Seconds between two reads of the list, and before the next attempt after one that failed.
INTERVAL, RETRY = 20.0, 1.0
# Seconds that one read may take, and the age at which a list says nothing: a revoked token reads for a minute at most.
DEADLINE, OLDEST = 2.0, 60.0

REVOKED = f"""
    SELECT jti FROM {TOKENS} token
    LEFT JOIN {USERS} owner ON owner.id = token.user_id AND owner.is_active
    WHERE owner.id IS NULL AND expires_at > :after
"""  # noqa: S608


class Revocations:
    """The ids of revoked tokens that have not expired, and the connections that each token opened."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: set[str] = set()
        self.read_at = -OLDEST
        self.closers: dict[Callable[[], None], str] = {}
        self.outage = Outage("reading the revoked tokens")
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.refresh()
        self.task = asyncio.create_task(self.follow())

    def stop(self) -> None:
        if self.task:
            self.task.cancel()

    async def follow(self) -> None:
        while True:
            await asyncio.sleep(RETRY if self.outage.on else INTERVAL)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the list, and close the connections of revoked tokens. A failure is logged."""
        began, after = time.monotonic(), datetime.now(UTC) - timedelta(seconds=LEEWAY)

        def read(connection: Connection) -> list[Row]:
            return connection.execute(REVOKED, after=after)

        try:
            self.ids = {id for (id,) in await self.database.call(read, 2, DEADLINE)}
        except Exception as error:  # the loop continues after any exception
            self.outage.begin(error)
            return
        self.read_at = began
        self.outage.end()
        for close in [close for close, id in self.closers.items() if id in self.ids]:
            close()

    def check(self, token: Token) -> None:
        """Raises NoUser if the token is revoked, Unavailable if the list is too old to tell."""
        if time.monotonic() - self.read_at > OLDEST:
            raise Unavailable("the list of revoked tokens is too old")
        if token.id in self.ids:
            raise NoUser

    @contextmanager
    def hold(self, token: Token, close: Callable[[], None]) -> Iterator[None]:
        """Call `close` when the token is revoked."""
        self.closers[close] = token.id
        try:
            yield
        finally:
            del self.closers[close]
