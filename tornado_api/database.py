"""The database, SQLite or PostgreSQL: the plain drivers, on threads. Django's migrations own the schema.

Only short reads of SQLite run in the event loop. A thread costs them more than the read itself.

SQL is text that both databases understand. `:name` is a parameter, `IN :name` takes a list, and rows are tuples.
"""

import asyncio
import json
import os
import re
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

from .limits import DATABASE_DEADLINE

T = TypeVar("T")
Row = tuple[Any, ...]

# Stands for a time that cannot be read, in a row from an old dump or written by hand. Without it, one such row would
# fail every list that it is in.
UNREADABLE = datetime(1970, 1, 1, tzinfo=UTC)
# Threads, each with one connection at most. Four processes on two cores make 16 connections. PostgreSQL allows 100, and
# the site needs some of them.
POOL_SIZE = 4
# Seconds for a read of SQLite in the event loop.
SHORT = 0.005
FAILURES = (sqlite3.OperationalError, sqlite3.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
# A constraint rejects a row.
REJECTIONS = (sqlite3.IntegrityError, psycopg.IntegrityError)


class NoUser(Exception):
    """The token is valid, but its user was deleted or deactivated."""


class Unavailable(Exception):
    """The database cannot be reached, or did not answer in time. The message is one line."""


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def as_time(value: Any) -> Any:
    """Return the datetime of a column, None for NULL. In SQLite it is Django's text, in UTC and without a zone."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except (TypeError, ValueError):  # SQLite has any text and number in such a column
        return UNREADABLE


class Loader(TimestamptzLoader):
    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:  # PostgreSQL has years that Python does not, and infinity
            return UNREADABLE


class Connection:
    """A connection in autocommit mode, for one thread at a time."""

    begin = "BEGIN"

    def execute(self, sql: str, **values: Any) -> list[Row]:
        """Execute one statement and return its rows."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether it can execute a statement, without a round trip."""
        raise NotImplementedError

    def abort(self) -> None:
        """Make the running statement fail. Other threads call this."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.execute(self.begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(*FAILURES):
                self.execute("ROLLBACK")
            raise


class SQLiteConnection(Connection):
    # A transaction that begins as a reader fails when it writes after another one has written. Begin as a writer.
    begin = "BEGIN IMMEDIATE"

    def __init__(self, url: str, timeout: float | None = None) -> None:
        path, timeout = url.removeprefix("sqlite:///"), DATABASE_DEADLINE / 2 if timeout is None else timeout
        self.driver = sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False)
        self.driver.text_factory = lambda text: text.decode(errors="replace")
        # FULL: an acknowledged write survives a power cut. WAL's default, NORMAL, does not promise this.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self.driver.execute(f"PRAGMA {pragma}")
        self.aborted = False

    def execute(self, sql: str, **values: Any) -> list[Row]:
        if self.aborted:
            raise sqlite3.OperationalError("aborted")
        given = {name: self.adapt(value) for name, value in values.items()}
        found: list[Row] = self.driver.execute(self.translate(sql), given).fetchall()
        return found

    def execute_soon(self, sql: str, **values: Any) -> list[Row]:
        """Raises OperationalError after SHORT seconds."""
        # SQLite asks after 10,000 steps of its virtual machine, which take less than a millisecond.
        end = time.monotonic() + SHORT
        self.driver.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        return self.execute(sql, **values)

    @staticmethod
    @lru_cache
    def translate(sql: str) -> str:
        return re.sub(r"\bIN (:\w+)", r"IN (SELECT value FROM json_each(\1))", sql)

    @staticmethod
    def adapt(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return json.dumps(value) if isinstance(value, list) else value

    def is_ready(self) -> bool:
        return not self.aborted and not self.driver.in_transaction

    def abort(self) -> None:
        # Also for the statements that follow: no interrupt ends a wait for another writer's lock.
        self.aborted = True
        self.driver.interrupt()

    def close(self) -> None:
        self.driver.close()


class PostgreSQLConnection(Connection):
    """psycopg prepares a statement when a connection executes it for the sixth time."""

    def __init__(self, url: str, name: str) -> None:
        limits = "-c statement_timeout=8s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s"
        self.driver = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=3,
            tcp_user_timeout=10_000,
            options=f"{limits} -c timezone=UTC",
            application_name=name,
        )
        self.driver.adapters.register_loader("timestamptz", Loader)
        self.input = select.poll()
        self.input.register(self.driver, select.POLLIN)

    def execute(self, sql: str, **values: Any) -> list[Row]:
        cursor = self.driver.execute(self.translate(sql), values)
        return cursor.fetchall() if cursor.description else []

    @staticmethod
    @lru_cache
    def translate(sql: str) -> bytes:
        sql = re.sub(r"\bIN (:\w+)", r"= ANY(\1)", sql.replace("%", "%%"))
        return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql).encode()

    def is_ready(self) -> bool:
        # Input that no statement asked for: the server stopped and closed the connection.
        return self.driver.info.transaction_status == TransactionStatus.IDLE and not self.input.poll(0)

    def abort(self) -> None:
        # Not a request to cancel: a server that hangs does not react to it.
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.driver.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.driver.close()


def connect(url: str, name: str = "") -> Connection:
    return SQLiteConnection(url) if url.startswith("sqlite:") else PostgreSQLConnection(url, name)


class Call:
    """Work for a thread of the pool."""

    def __init__(self, work: Callable[[Connection], Any], retries: int) -> None:
        self.work = work
        self.retries = retries
        self.connection: Connection | None = None
        self.aborted = False
        # Held to abort, because the connection may be another call's as soon as this one ends.
        self.lock = threading.Lock()

    def abort(self) -> None:
        """Make the call fail, unless it has ended."""
        with self.lock:
            self.aborted = True
            if self.connection:
                self.connection.abort()


class Database:
    """A pool of connections. Every method raises Unavailable if the database cannot be reached or is too slow."""

    def __init__(self, url: str, name: str) -> None:
        self.is_sqlite = url.startswith("sqlite:")
        self.url = url
        self.name = name
        self.threads = ThreadPoolExecutor(POOL_SIZE, "database")
        self.calls: set[Call] = set()
        self.ready: list[Connection] = []
        # For the event loop: it never waits for a lock.
        self.reader = SQLiteConnection(url, timeout=0) if self.is_sqlite else None

    async def close(self) -> None:
        for call in self.calls:
            call.abort()
        await asyncio.to_thread(self.threads.shutdown, cancel_futures=True)
        for connection in filter(None, (*self.ready, self.reader)):
            connection.close()

    async def execute(self, sql: str, **values: Any) -> list[Row]:
        """Execute one statement, which is committed. Return its rows."""
        return await self.run(lambda connection: connection.execute(sql, **values))

    async def read(self, sql: str, **values: Any) -> list[Row]:
        """Execute one statement that only reads. Return its rows."""
        if self.reader:
            with suppress(sqlite3.OperationalError):
                return self.reader.execute_soon(sql, **values)
        # Executed again if the server closed the connection at this moment.
        found: list[Row] = await self.call(Call(lambda connection: connection.execute(sql, **values), retries=1))
        return found

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns for a connection, on a thread: `with connection.transaction(): …`."""
        found: T = await self.call(Call(work, retries=0))
        return found

    async def ping(self, deadline: float) -> None:
        await self.call(Call(lambda connection: connection.execute("SELECT 1"), retries=1), deadline)

    async def call(self, call: Call, deadline: float | None = None) -> Any:
        deadline = deadline or DATABASE_DEADLINE
        self.calls.add(call)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.get_running_loop().run_in_executor(self.threads, self.perform, call)
        except FAILURES as error:
            raise Unavailable(one_line(error)) from error
        except TimeoutError as error:
            raise Unavailable(f"no answer within {deadline:g} s") from error
        finally:
            call.abort()
            self.calls.discard(call)

    def perform(self, call: Call) -> Any:
        """Do the work of a call. This is the only method that runs on the threads."""
        connection = self.take()
        try:
            with call.lock:
                if call.aborted:
                    return None
                call.connection = connection
            return call.work(connection)
        except FAILURES:
            if connection.is_ready() or not call.retries:
                raise
            call.retries -= 1
        finally:
            with call.lock:
                call.connection = None
            if connection.is_ready():
                self.ready.append(connection)
            else:
                connection.close()
        return self.perform(call)

    def take(self) -> Connection:
        """Return a connection that is ready, the one last used if possible."""
        with suppress(IndexError):
            while True:
                connection = self.ready.pop()
                if connection.is_ready():
                    return connection
                connection.close()
        return connect(self.url, self.name)
