"""kill -9 of one instance's master: its process manager restarts it, and the other instance serves in the meantime."""

import asyncio

import pytest

from tests.chaos.load import API, GETS, POSTS, SITE, Load
from tests.chaos.recovery import recovered, seconds_until, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import Stack

OTHERS = {"site": ("static", *API), "api": ("static", *SITE)}
# Writes that a worker holds at a time: one in the site; in the api those of the load's four writers.
HELD = {"site": 1, "api": 4}


@pytest.mark.parametrize("instance", ["site-a", "api-a"])
async def test_a_master(stack: Stack, crowd: Crowd, record: Record, instance: str) -> None:
    app = instance.partition("-")[0]
    async with Load(stack, crowd) as load:
        # supervisord counts an exit within 10 s as a failed start (startsecs); test_both_masters covers that case.
        await asyncio.sleep(10)
        victims = {stack.pids()[instance], *workers(stack, instance)}
        stack.kill(instance)
        seconds = await seconds_until(recovered, stack, victims)
        await asyncio.sleep(1)
    record(f"kill -9 of {instance}'s master", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == load.failed(OTHERS[app]) == load.sum("resent", GETS) == 0, load.report()
    assert load.failed(POSTS) <= stack.cores * HELD[app], load.report()
