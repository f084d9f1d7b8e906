"""The database, SQLite or PostgreSQL: the plain drivers, on threads. Django's migrations own the schema.

SQL is text that both databases understand. `:name` is a parameter, `IN :name` takes a list, and rows are tuples.
"""

import asyncio
import json
import os
import re
import select
import socket
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

from . import metrics, traces
from .limits import DATABASE_DEADLINE

T = TypeVar("T")
Row = tuple[Any, ...]

# Stands for a time that cannot be read, in a row from an old dump or written by hand. Without it, one such row would
# fail every list that it is in.
UNREADABLE = datetime(1970, 1, 1, tzinfo=UTC)
# The site's tables of users and of tokens. Statements refer to them by these.
USERS, TOKENS = "accounts_user", "tokens_token"
# True if the user is active and the token is not revoked. Each statement that writes for a user contains it, so that a
# revocation takes effect at the next write. A revoked token has a record without a user.
AUTHORIZED = f"""
    EXISTS (SELECT 1 FROM {USERS} WHERE id = :user AND is_active)
    AND NOT EXISTS (SELECT 1 FROM {TOKENS} WHERE jti = :token AND user_id IS NULL)
"""  # noqa: S608
# Four processes on two cores make 16 connections. PostgreSQL allows 100, and the site needs some of them.
POOL_SIZE = 4
# Seconds without a primary that a new connection waits for. A switchover takes two or three.
SWITCHOVER = 5
# Seconds for a read of SQLite in the event loop.
SHORT = 0.005
WAITS = metrics.histogram("database_wait_seconds", "Waits for a connection of the pool")
LIMITS = "-c statement_timeout=8s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s -c timezone=UTC"
# The server became a standby, or its provider stopped writes. A new connection may find the primary.
READ_ONLY = psycopg.errors.ReadOnlySqlTransaction
FAILURES = (
    *(sqlite3.OperationalError, sqlite3.InterfaceError),
    *(psycopg.OperationalError, psycopg.InterfaceError, READ_ONLY),
)
# A constraint rejects a row.
REJECTIONS = (sqlite3.IntegrityError, psycopg.IntegrityError)


class NoUser(Exception):
    """The token was revoked, or its user was deleted or deactivated."""


class Unavailable(Exception):
    """The database cannot be reached, or did not answer in time. The message is one line."""


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Loader(TimestamptzLoader):
    def load(self, data: Any) -> datetime:
        try:
            # In another zone if the session has no LIMITS.
            return super().load(data).astimezone(UTC)
        except (psycopg.DataError, OverflowError):  # PostgreSQL has years that Python does not, and infinity
            return UNREADABLE


class Connection(ABC):
    """A connection in autocommit mode, for one thread at a time."""

    begin = "BEGIN"
    aborted = False
    driver: Any

    @abstractmethod
    def execute(self, sql: str, **values: Any) -> list[Row]:
        """Execute one statement and return its rows."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether it can execute a statement. This takes no round trip."""

    @abstractmethod
    def abort(self) -> None:
        """Make the running statement fail. The event loop calls this."""

    def close(self) -> None:
        self.driver.close()

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

    def __init__(self, url: str, timeout: float) -> None:
        path = url.removeprefix("sqlite:///")
        self.driver = sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False)
        self.driver.text_factory = lambda text: text.decode(errors="replace")
        # FULL: an acknowledged write survives a power cut. WAL's default, NORMAL, does not promise this.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self.driver.execute(f"PRAGMA {pragma}")

    def execute(self, sql: str, **values: Any) -> list[Row]:
        if self.aborted:
            raise sqlite3.OperationalError("aborted")
        for name, value in values.items():
            if isinstance(value, datetime):
                values[name] = value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
            elif isinstance(value, list):
                values[name] = json.dumps(value)
        with traces.statement(sql):
            found: list[Row] = self.driver.execute(in_sqlite(sql), values).fetchall()
        return found

    def execute_soon(self, sql: str, **values: Any) -> list[Row]:
        """Raises OperationalError after SHORT seconds."""
        end = time.monotonic() + SHORT
        # SQLite asks each 10,000 steps of its virtual machine, which take less than a millisecond.
        self.driver.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        return self.execute(sql, **values)

    def is_ready(self) -> bool:
        return not self.aborted and not self.driver.in_transaction

    def abort(self) -> None:
        # The flag is for the next statements, because nothing ends a wait for another writer.
        self.aborted = True
        self.driver.interrupt()


class PostgreSQLConnection(Connection):
    """psycopg prepares a statement when a connection executes it for the sixth time.

    Not with a pooler, whose connections change between transactions. A session then has no LIMITS either.
    """

    def __init__(self, url: str, name: str, pooler: bool) -> None:
        options: dict[str, Any] = {
            "connect_timeout": 3,
            "tcp_user_timeout": 10_000,
            "application_name": name,
        }
        options |= {"prepare_threshold": None} if pooler else {"options": LIMITS}
        self.driver = connect_to_primary(url, autocommit=True, **options)
        self.driver.adapters.register_loader("timestamptz", Loader)
        self.input = select.poll()
        self.input.register(self.driver, select.POLLIN)

    def execute(self, sql: str, **values: Any) -> list[Row]:
        with traces.statement(sql):
            cursor = self.driver.execute(in_postgresql(sql), values)
            return cursor.fetchall() if cursor.description else []

    def is_ready(self) -> bool:
        # Input that no statement asked for: the server stopped and closed the connection.
        return self.driver.info.transaction_status == TransactionStatus.IDLE and not self.input.poll(0)

    def abort(self) -> None:
        # Not a request to cancel: a server that hangs does not react to it.
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.driver.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def connect_to_primary(url: str, **options: Any) -> psycopg.Connection:
    """Connect. Of several servers, wait SWITCHOVER seconds until one is the primary."""
    end = time.monotonic() + (SWITCHOVER if "," in str(conninfo_to_dict(url).get("host")) else 0)
    while True:
        try:
            return psycopg.connect(url, **options)
        except psycopg.OperationalError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.1)


@lru_cache
def in_sqlite(sql: str) -> str:
    return re.sub(r"\bIN (:\w+)", r"IN (SELECT value FROM json_each(\1))", sql)


@lru_cache
def in_postgresql(sql: str) -> bytes:
    sql = re.sub(r"\bIN (:\w+)", r"= ANY(\1)", sql.replace("%", "%%"))
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql).encode()


def connect(url: str, name: str = "", pooler: bool = False) -> Connection:
    is_sqlite = url.startswith("sqlite:")
    return SQLiteConnection(url, DATABASE_DEADLINE / 2) if is_sqlite else PostgreSQLConnection(url, name, pooler)


class Slot:
    """A place in the pool, for one call at a time. Its connection opens with the first one."""

    connection: Connection | None = None
    aborted = False

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.connect = connect

    def perform(self, work: Callable[[Connection], T], attempts: int) -> T:
        """Return what `work` returns for the connection. This is what the threads do."""
        if not self.connection or not self.connection.is_ready():
            self.close()
            self.connection = self.connect()
        try:
            if self.aborted:
                raise psycopg.OperationalError("aborted")
            return work(self.connection)
        except READ_ONLY:
            self.close()
            raise
        except FAILURES:
            if attempts == 1 or self.connection.is_ready():
                raise
        finally:
            if self.aborted:
                self.close()
        return self.perform(work, attempts - 1)

    def abort(self) -> None:
        self.aborted = True
        if self.connection:
            self.connection.abort()

    def close(self) -> None:
        if self.connection:
            self.connection.close()


class Database:
    """A pool of connections. Every method raises Unavailable if the database cannot be reached or is too slow."""

    def __init__(self, url: str, name: str, pooler: bool = False) -> None:
        self.is_sqlite = url.startswith("sqlite:")
        self.make_slot = partial(Slot, partial(connect, url, name, pooler))
        self.threads = ThreadPoolExecutor(POOL_SIZE, "database")
        self.free = asyncio.Semaphore(POOL_SIZE)
        self.slots = [self.make_slot() for _ in range(POOL_SIZE)]
        self.url = url
        # SQLite's connection for the event loop, from the first read on.
        self.reader: SQLiteConnection | None = None

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for slot in self.slots:
            slot.close()
        if self.reader:
            self.reader.close()

    async def read(self, sql: str, **values: Any) -> list[Row]:
        """Execute one statement that only reads. Return its rows."""
        if self.is_sqlite:
            # A thread would cost more than most reads: 48 in place of 21 microseconds. This waits for no lock.
            with suppress(sqlite3.OperationalError):
                began = time.monotonic()
                self.reader = self.reader or SQLiteConnection(self.url, timeout=0)
                rows = self.reader.execute_soon(sql, **values)
                metrics.mine(metrics.QUERIES).observe(time.monotonic() - began)
                return rows
        # Twice, if the server closes the connection just after it was checked.
        return await self.call(lambda connection: connection.execute(sql, **values), attempts=2)

    async def execute(self, sql: str, **values: Any) -> list[Row]:
        """Execute and commit one statement. Return its rows."""
        return await self.call(lambda connection: connection.execute(sql, **values))

    async def ping(self, deadline: float) -> None:
        await self.call(lambda connection: connection.execute("SELECT 1"), 2, deadline)

    async def call(self, work: Callable[[Connection], T], attempts: int = 1, deadline: float | None = None) -> T:
        """Return what `work` returns for a connection, on a thread: `with connection.transaction(): …`."""
        deadline = deadline or DATABASE_DEADLINE
        began = time.monotonic()
        try:
            async with asyncio.timeout(deadline), self.free:
                taken = time.monotonic()
                metrics.mine(WAITS).observe(taken - began)
                slot = self.slots.pop()
                try:
                    loop = asyncio.get_running_loop()
                    perform: Callable[..., T] = slot.perform
                    if traces.tracer:
                        # The thread continues the trace.
                        perform = partial(copy_context().run, perform)
                    return await loop.run_in_executor(self.threads, perform, work, attempts)
                except asyncio.CancelledError:
                    slot.abort()
                    slot = self.make_slot()
                    raise
                finally:
                    self.slots.append(slot)
                    metrics.mine(metrics.QUERIES).observe(time.monotonic() - taken)
        except FAILURES as error:
            raise Unavailable(one_line(error)) from error
        except TimeoutError as error:
            raise Unavailable(f"no answer within {deadline:g} s") from error
