"""kill -9 of workers and masters. Requests that they hold may be lost, but only those that must not be repeated."""

import asyncio
import os
import random
import signal
import statistics

import httpx
import pytest

from deploy.core.probe import UNCACHED
from tests.chaos.load import API, GETS, POSTS, SITE, Load
from tests.chaos.recovery import recovered, seconds_until, whole, workers
from tests.chaos.table import Record
from tests.sample import ENDPOINT, Crowd
from tests.stacks import NativeStack

# Seconds between kills in two instances. Otherwise a 3 s request that nginx moved from the first to the second would be
# lost with it, because nginx tries each instance once.
APART = 4
SERVERS = {"site": "uWSGI", "api": "gunicorn"}
OTHERS = {"site": ("static", *API), "api": ("static", *SITE)}
# A worker of the site holds one request at a time. A worker of the api may hold a request of each of the load's four
# writers.
HELD = {"site": 1, "api": 4}


@pytest.mark.parametrize("app", ["site", "api"])
async def test_a_worker(stack: NativeStack, crowd: Crowd, record: Record, short: bool, app: str) -> None:
    kills, seconds = 2 if short else 6, []
    async with Load(stack, crowd) as load:
        for number in range(kills):
            await asyncio.sleep(APART if number == 2 else 1)
            victim = random.choice(list(workers(stack, f"{app}-{'ab'[number >= 2]}")))
            os.kill(victim, signal.SIGKILL)
            seconds.append(await seconds_until(recovered, stack, {victim}))
        await asyncio.sleep(1)
    record(f"kill -9 of a worker of {SERVERS[app]}, {kills} ×", *load.figures(), statistics.mean(seconds), load.saw())
    assert load.failed(GETS) == load.failed(OTHERS[app]) == load.sum("resent") == 0, load.report()
    assert load.failed(POSTS) <= kills * HELD[app], load.report()


@pytest.mark.parametrize(
    ("app", "path", "kind"), [("site", "/", "text/html"), ("api", ENDPOINT, "application/problem+json")]
)
async def test_both_masters(stack: NativeStack, crowd: Crowd, record: Record, app: str, path: str, kind: str) -> None:
    """Kill both masters three times, each time before they run again. Then only wait."""
    kinds = SITE if app == "site" else API

    answers: list[httpx.Response] = []

    def masters() -> set[int]:
        pids = stack.pids()
        return {pids[instance] for instance in stack.instances_of(app)}

    def up_again(killed: set[int]) -> bool:
        return not masters() & {0, *killed}

    def refused() -> bool:
        with stack.client(headers=UNCACHED) as client:
            answers.append(client.get(path))
        return answers[-1].status_code == 503

    async with Load(stack, crowd, refusable=kinds) as load:
        await asyncio.sleep(1)
        killed: set[int] = set()
        for _ in range(3):
            await seconds_until(up_again, killed)
            killed = masters()
            for master in killed:
                os.kill(master, signal.SIGKILL)
        await seconds_until(refused)
        seconds = await seconds_until(whole, stack)
        await asyncio.sleep(1)
    record(f"kill -9 of both masters of {SERVERS[app]}, 3 ×", *load.figures(), seconds, load.saw())
    assert answers[-1].headers["Content-Type"].partition(";")[0] == kind
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert load.failed() == load.sum("resent") == 0, load.report()
    waits = [seconds for kind in kinds for seconds in load.counts[kind].refused]
    assert statistics.median(waits) < 1, "503, and not at once"
