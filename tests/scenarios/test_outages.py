"""Outages of the database and Redis: stopped, as by a restart; frozen, as by an overloaded host; disconnected."""

import asyncio
import statistics
import time

import pytest

from tests.chaos.load import GETS, POSTS, Load
from tests.chaos.recovery import seconds_until, whole, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import Stack

# Requests that need no database.
UNTOUCHED = ("static", "api 3 s")
each_way = pytest.mark.parametrize("how", ["stopped", "frozen", "disconnected"])


async def outage(stack: Stack, service: str, how: str, short: bool) -> int:
    """Return the length in seconds of an outage once it is over."""
    seconds = 5 if short else 10

    def wait() -> None:
        with stack.outage(service, how):
            time.sleep(seconds)

    await asyncio.to_thread(wait)
    return seconds


def skip_if_short(short: bool, how: str) -> None:
    if short and how != "stopped":
        pytest.skip("the short form has only stopped servers")


@each_way
async def test_database(stack: Stack, crowd: Crowd, record: Record, short: bool, how: str) -> None:
    """Clients get 503 with Retry-After. No worker hangs or restarts, and no acknowledged vote is lost."""
    skip_if_short(short, how)
    before = workers(stack)
    async with Load(stack, crowd, refusable=set(GETS + POSTS) - set(UNTOUCHED)) as load:
        await asyncio.sleep(1)
        length = await outage(stack, "database", how, short)
        seconds = await seconds_until(whole, stack)
        served = load.sum("answered")
        await asyncio.sleep(2)
        assert load.sum("answered") > served
    # Of the requests that do not wait deliberately.
    slowest = max(
        count.slowest for kind, count in load.counts.items() if kind not in ("api long-poll", "api 3 s", "site 3 s")
    )
    note = f"{load.saw()}; all in {slowest:.1f} s"
    record(f"the database {how} for {length} s", *load.figures(), seconds, note)
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    assert load.sum("refused") or how != "stopped"
    assert slowest < 20, "a worker was held until its last deadline"
    assert workers(stack) == before


@each_way
async def test_redis(stack: Stack, crowd: Crowd, record: Record, short: bool, how: str) -> None:
    """Pages and votes work. Watchers get tallies within seconds, because the api queries the database every second."""
    skip_if_short(short, how)
    before = workers(stack)
    async with Load(stack, crowd) as load:
        await asyncio.sleep(2)
        began = time.monotonic()
        length = await outage(stack, "redis", how, short)
        ended = time.monotonic()
        seconds = await seconds_until(whole, stack)
        await asyncio.sleep(1)
    late = [seconds for heard, seconds in load.late if began < heard < ended]
    note = f"{load.saw()}; watchers got a vote after {statistics.median(late):.1f}, at most {max(late):.1f} s"
    record(f"Redis {how} for {length} s", *load.figures(), seconds, note)
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    # Two seconds, and two more for a busy machine.
    assert max(late) < 4
    assert workers(stack) == before
