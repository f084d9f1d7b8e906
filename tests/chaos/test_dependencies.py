"""The database and Redis go and come back: stopped, as by a restart, and frozen, as by a machine in trouble."""

import asyncio
import signal
import statistics
import time
from urllib.parse import urlsplit

import pytest

from deploy.instance import INSTANCES
from tests.chaos.load import GETS, POSTS, Load
from tests.chaos.recovery import seconds_until, whole, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.servers import away
from tests.stacks import Stack

# What needs no database.
UNTOUCHED = ("static", "api 3 s")


def port(stack: Stack, url: str, how: signal.Signals, short: bool) -> int:
    """Where the stack's own PostgreSQL or Redis listens."""
    if short and how == signal.SIGSTOP:
        pytest.skip("frozen servers are left out of the short form")
    if url not in stack.environment:
        pytest.skip("no server of its own on SQLite")
    return urlsplit(stack.environment[url]).port or 0


async def outage(port: int, how: signal.Signals, seconds: float) -> None:
    def gone() -> None:
        with away(port, how):
            time.sleep(seconds)

    await asyncio.to_thread(gone)


@pytest.mark.parametrize(("how", "word"), [(signal.SIGINT, "stopped"), (signal.SIGSTOP, "frozen")])
async def test_database(
    stack: Stack, crowd: Crowd, record: Record, short: bool, how: signal.Signals, word: str
) -> None:
    """Nobody waits for ever, nothing is restarted, and what was acknowledged is there."""
    server, length = port(stack, "DATABASE_URL", how, short), 5 if short else 10
    before = workers(stack, *INSTANCES)
    async with Load(stack, crowd, refusable=set(GETS + POSTS) - set(UNTOUCHED)) as load:
        await asyncio.sleep(1)
        await outage(server, how, length)
        seconds = await seconds_until(whole, stack)
        served = load.sum("answered")
        await asyncio.sleep(2)
        assert load.sum("answered") > served
    # Of those that mean to take no time.
    slowest = max(
        count.slowest for kind, count in load.counts.items() if kind not in ("api poll", "api 3 s", "site 3 s")
    )
    record(f"the database {word} for {length} s", *load.figures(), seconds, f"{load.saw()}; all in {slowest:.1f} s")
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    assert load.sum("refused") or word == "frozen"
    assert slowest < 20, "a worker was held until its last deadline"
    assert workers(stack, *INSTANCES) == before


@pytest.mark.parametrize(("how", "word"), [(signal.SIGKILL, "killed"), (signal.SIGSTOP, "frozen")])
async def test_redis(stack: Stack, crowd: Crowd, record: Record, short: bool, how: signal.Signals, word: str) -> None:
    """Writes and pages go on, and watchers hear of a write by the api's look at the database, once a second."""
    server, length = port(stack, "REDIS_URL", how, short), 5 if short else 10
    before = workers(stack, *INSTANCES)
    async with Load(stack, crowd) as load:
        await asyncio.sleep(2)
        began = time.monotonic()
        await outage(server, how, length)
        ended = time.monotonic()
        seconds = await seconds_until(whole, stack)
        await asyncio.sleep(1)
    late = [seconds for heard, seconds in load.late if began < heard < ended]
    note = f"{load.saw()}; watchers heard of a write after {statistics.median(late):.1f}, at most {max(late):.1f} s"
    record(f"Redis {word} for {length} s", *load.figures(), seconds, note)
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    # Two seconds, and as much again for a machine that is busy.
    assert max(late) < 4
    assert workers(stack, *INSTANCES) == before
