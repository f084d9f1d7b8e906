"""Lost notifications, and outages of Redis and the database, as clients see them. Nothing restarts."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from redis.asyncio import Redis

from tests import servers
from tests.api.checks import problem
from tests.api.framework.sample import ALL, Subject, create_tables, fresh, write
from tests.api.framework.waiting import until, write_elsewhere
from tests.api.served import Served, serve
from tests.api.watching import newest, news, watch
from tests.faults import away
from tests.standby import postgresql_cluster
from tornado_api import bus, database

pytestmark = pytest.mark.slow


async def test_missed_notification_is_repaired_by_the_next_check(api: Served) -> None:
    subject = await fresh(api)
    async with watch(api, subject) as events:
        await news(events)
        await write_elsewhere(api, subject)
        assert (await asyncio.wait_for(news(events), 5 * bus.INTERVAL_WITH_REDIS))["version"] == 1


@pytest.fixture
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


async def test_notification_comes_before_the_check(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "INTERVAL_WITH_REDIS", 60)
    async with (
        serve(database_url, redis_url, features=ALL) as one,
        serve(database_url, redis_url, features=ALL) as other,
        Redis.from_url(redis_url) as client,
    ):

        async def both_listen() -> bool:
            [(_, number)] = await client.pubsub_numsub(bus.CHANNEL)
            return bool(number == 2)

        await until(both_listen)
        subject = await fresh(one)
        async with watch(one, subject) as events:
            await news(events)
            # As another process of the app announces it, and as the site does.
            await write(other, subject)
            assert (await asyncio.wait_for(news(events), 10))["version"] == 1
            await write_elsewhere(one, subject)
            await client.publish(bus.CHANNEL, subject.channel)
            assert (await asyncio.wait_for(news(events), 10))["version"] == 2
            # Other messages on the channel are ignored.
            for nonsense in ("x", "", b"\xff", "9" * 40, "counters", "counters:", "counters:x", f"gauges:{subject.id}"):
                await client.publish(bus.CHANNEL, nonsense)
            await write(other, subject)
            assert (await asyncio.wait_for(news(events), 10))["version"] == 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGSTOP])
async def test_an_outage_of_redis(
    database_url: str, redis_url: str, how: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    port = urlsplit(redis_url).port
    assert port
    async with serve(database_url, redis_url, features=ALL) as api:
        subject = await fresh(api)
        async with watch(api, subject) as events:
            await news(events)
            with away(port, how):
                seconds = []
                for number in range(1, 4):
                    started = time.monotonic()
                    assert (await write(api, subject)).status_code == 201
                    seconds.append(time.monotonic() - started)
                    assert (await asyncio.wait_for(news(events), 10))["version"] == number
                # The shortest, because a busy machine may delay one.
                assert min(seconds) < bus.LIMIT, "each request waited for Redis"
                await write_elsewhere(api, subject)
                assert (await asyncio.wait_for(news(events), 10))["version"] == 4
                ready = await api.client.get("/health/ready")
                assert ready.status_code == 503
                assert ready.json()["database"] == "ok"
            await until(api.ready)
            await write(api, subject)
            assert (await asyncio.wait_for(news(events), 10))["version"] == 5
    loud = [record.getMessage() for record in caplog.records if "publishing to Redis" in record.getMessage()]
    assert 1 <= len(loud) <= 2, loud


async def test_redis_restarts_between_two_checks(database_url: str, redis_url: str) -> None:
    """The kept connections are closed, and the first check after it uses one."""
    port = urlsplit(redis_url).port
    assert port
    async with serve(database_url, redis_url, features=ALL) as api:
        await until(api.ready)
        with away(port, signal.SIGTERM):
            pass
        assert (await api.client.get("/health/ready")).json() == {"status": "ready", "database": "ok", "bus": "ok"}


@asynccontextmanager
async def other_postgresql() -> AsyncIterator[tuple[Served, int]]:
    with servers.postgresql() as url:
        create_tables(url)
        async with serve(url, features=ALL) as api:
            yield api, urlsplit(url).port or 0


def each_kind(api: Served, subject: Subject) -> list[asyncio.Future[httpx.Response]]:
    # Nobody watches this one, and it need not exist.
    another = Subject(subject.id + 1000).long_poll
    gets = [api.client.get(path, timeout=60) for path in (subject.newest, another)]
    return [asyncio.ensure_future(request) for request in (*gets, write(api, subject))]


@pytest.mark.any_data
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGSTOP])
async def test_an_outage_of_postgresql(how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shorter: a test has other things to do.
    monkeypatch.setattr(database, "DATABASE_DEADLINE", 1)
    async with other_postgresql() as (api, port):
        subject = await fresh(api)
        assert (await api.client.get(subject.newest)).status_code == 200
        async with watch(api, subject) as events:
            await news(events)
            with away(port, how):
                started = time.monotonic()
                # More than the pool has connections.
                for response in await asyncio.gather(*(each for _ in range(5) for each in each_kind(api, subject))):
                    problem(response, 503)
                    assert int(response.headers["Retry-After"]) > 0
                # One after the other would take a second each.
                assert time.monotonic() - started < 10
                ready = await api.client.get("/health/ready")
                assert ready.status_code == 503
                assert ready.json()["database"] not in ("", "ok")
                assert "\n" not in ready.json()["database"]
                assert (await api.client.get("/health/live")).status_code == 200
            await until(api.ready)
            for response in await asyncio.gather(*each_kind(api, subject)):
                assert response.status_code < 500, response.text
            # The stream was there all the time.
            version = (await write(api, subject)).json()["version"]
            while (await asyncio.wait_for(news(events), 10))["version"] < version:
                pass


@pytest.mark.any_data
async def test_postgresql_restarted_between_two_requests() -> None:
    """The connections that were kept are dead: nobody notices."""
    async with other_postgresql() as (api, port):
        subject = await fresh(api)
        await asyncio.gather(*(newest(api, subject) for _ in range(10)))
        with away(port, signal.SIGINT):
            pass
        answers = await asyncio.gather(*(write(api, subject) for _ in range(10)))
        assert [answer.status_code for answer in answers] == [201] * 10


@pytest.mark.any_data
async def test_a_server_that_became_read_only() -> None:
    """Its connections are dropped, so that the next ones can find the primary."""
    async with other_postgresql() as (api, port):
        subject, url = await fresh(api), api.app.database.url
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
            with away(port, signal.SIGINT):
                pass
        for _ in range(2):
            response = await write(api, subject)
            problem(response, 503)
            assert int(response.headers["Retry-After"]) > 0
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SET default_transaction_read_only = off")
            other.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
        assert (await write(api, subject)).status_code == 201


@pytest.mark.any_data
async def test_the_primary_of_several_servers_is_found() -> None:
    with postgresql_cluster() as (several, primary):
        create_tables(primary)
        async with serve(several, features=ALL) as api:
            subject = await fresh(api)
            # As in a switchover, there is no primary for a while.
            with away(urlsplit(primary).port or 0, signal.SIGINT):
                began = asyncio.ensure_future(write(api, subject))
                await asyncio.sleep(1)
            assert (await began).status_code == 201


@pytest.mark.any_data
async def test_connection_that_the_server_closes_after_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async with other_postgresql() as (api, port):
        subject = await fresh(api)
        with away(port, signal.SIGINT):
            pass
        monkeypatch.setattr(database.PostgreSQLConnection, "is_ready", lambda self: not self.driver.broken)
        assert (await api.client.get(subject.newest)).status_code == 200


@pytest.mark.any_data
async def test_a_locked_sqlite(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "DATABASE_DEADLINE", 1)
    path = tmp_path_factory.mktemp("locked") / "db.sqlite3"
    create_tables(f"sqlite:///{path}")
    async with serve(f"sqlite:///{path}", features=ALL) as api:
        subject = await fresh(api)
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            for response in await asyncio.gather(*(write(api, subject) for _ in range(10))):
                problem(response, 503)
                assert int(response.headers["Retry-After"]) > 0
            # Reading goes on.
            assert (await api.client.get(subject.newest)).status_code == 200
            other.execute("ROLLBACK")
        other.close()
        assert (await write(api, subject)).status_code == 201
        assert (await newest(api, subject))["total"] == 1


async def test_database_that_is_not_there_at_start() -> None:
    url = f"postgresql://nobody@127.0.0.1:{servers.free_port()}/nothing"
    async with serve(url, features=ALL) as api:
        problem(await api.client.get(Subject(1).newest), 503)
        problem(await api.client.get(Subject(1).long_poll), 503)
        await until(lambda: not api.app.hub.channels)
