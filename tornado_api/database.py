"""The database, SQLite or PostgreSQL: SQLAlchemy Core on an async pool. Django's migrations own the schema."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from psycopg import DataError
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import Boolean, Column, MetaData, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from .limits import DATABASE_DEADLINE

# Stands for a time that cannot be read, in a row from an old dump or written by hand. Without it, one such row would
# fail every list that it is in.
UNREADABLE = datetime(1970, 1, 1, tzinfo=UTC)
# Four processes on two cores make 16 connections. PostgreSQL allows 100, and the site needs some of them.
POOL_SIZE = 4


class NoUser(Exception):
    """The token is valid, but its user was deleted or deactivated."""


class Unavailable(Exception):
    """The database cannot be reached, or did not answer in time. The message is one line."""


metadata = MetaData()
# The site's users. Feature tables refer to `user`, so that its name is written only here.
user = Table(
    "accounts_user",
    metadata,
    Column("id", sa.BigInteger, primary_key=True),
    Column("is_active", Boolean, nullable=False),
)


def one_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
    return " ".join(str(cause).split()) or type(cause).__name__


class Loader(TimestamptzLoader):
    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except DataError:  # PostgreSQL has years that Python does not, and infinity
            return UNREADABLE


def sqlite_engine(url: sa.URL) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=DATABASE_DEADLINE,
        # A transaction that begins as a reader fails when it writes after another one has written. Begin as a writer.
        connect_args={"timeout": DATABASE_DEADLINE / 2, "isolation_level": "IMMEDIATE"},
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: DBAPIConnection, record: object) -> None:
        cursor = connection.cursor()
        # FULL: an acknowledged write survives a power cut. WAL's default, NORMAL, does not promise this.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        driver: Any = connection.driver_connection
        driver.text_factory = lambda text: text.decode(errors="replace")

    return engine


def postgresql_engine(url: sa.URL, name: str) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=DATABASE_DEADLINE,
        # Replaces connections that a restart of the server closed, before a request uses them.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 3,
            "tcp_user_timeout": 10_000,
            "options": "-c statement_timeout=8s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s",
            "application_name": name,
        },
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: DBAPIConnection, record: object) -> None:
        driver: Any = connection.driver_connection
        driver.adapters.register_loader("timestamptz", Loader)

    return engine


class Database:
    """A pool of connections. Every method raises Unavailable if the database cannot be reached or is too slow."""

    def __init__(self, url: sa.URL, name: str) -> None:
        self.insert: Callable[[sa.Table], postgresql.Insert | sqlite.Insert]
        if url.get_backend_name() == "sqlite":
            self.engine = self.reads = sqlite_engine(url)
            self.insert = sqlite.insert
        else:
            self.engine = postgresql_engine(url, name)
            # Every read is one statement and needs no BEGIN and ROLLBACK.
            self.reads = self.engine.execution_options(isolation_level="AUTOCOMMIT")
            self.insert = postgresql.insert

    async def close(self) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def connect(self, engine: AsyncEngine, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        deadline = deadline or DATABASE_DEADLINE
        try:
            # Twice: at the first timeout psycopg asks the server to cancel, which a server that hangs never does.
            async with asyncio.timeout(deadline + 1), asyncio.timeout(deadline), engine.connect() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise Unavailable(one_line(error)) from error
        except TimeoutError as error:
            raise Unavailable(f"no answer within {deadline:g} s") from error

    async def ping(self, deadline: float) -> None:
        async with self.connect(self.reads, deadline) as connection:
            await connection.execute(sa.select(1))
