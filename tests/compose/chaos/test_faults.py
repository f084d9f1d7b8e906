"""Faults that only containers have, under load. tests/scenarios has those of every target."""

import asyncio
import os
import signal
import time

import psutil

from tests.chaos.load import API, GETS, POSTS, SITE, Load
from tests.chaos.recovery import recovered, seconds_until, whole
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import ComposeStack, docker


async def test_kill_of_supervisord(stack: ComposeStack, crowd: Crowd, record: Record) -> None:
    """kill -9 of supervisord, the first process of an api container: the engine restarts the container."""
    async with Load(stack, crowd) as load:
        await asyncio.sleep(1)
        # A signal, as in a crash: the engine does not restart a container after `docker kill`.
        victim = int(stack.container("api-a")["State"]["Pid"])
        os.kill(victim, signal.SIGKILL)
        seconds = await seconds_until(recovered, stack, {victim})
        await asyncio.sleep(1)
    record("kill -9 of api-a's supervisord", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == load.failed(SITE) == 0, load.report()
    # A worker may hold a request of each of the load's four writers.
    assert load.failed(POSTS) <= 4 * stack.cores, load.report()


async def test_docker_kill(stack: ComposeStack, crowd: Crowd, record: Record) -> None:
    """The engine leaves the container stopped, and `make up` starts it."""
    async with Load(stack, crowd) as load:
        await asyncio.sleep(1)
        docker("kill", stack.container("site-b")["Id"])
        await asyncio.sleep(5)
        assert not whole(stack, "site-b")
        began = time.monotonic()
        done = await asyncio.to_thread(stack.make, "up")
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        assert whole(stack)
    record("docker kill of site-b, then make up", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == load.failed(API) == 0, load.report()
    assert load.failed(POSTS) <= stack.cores, load.report()


async def test_stopped_processes(stack: ComposeStack, crowd: Crowd, record: Record) -> None:
    """The requests that an instance holds wait, and nginx sends most others elsewhere.

    By signals: `docker pause` during a health check can take half a minute.
    """

    def pause() -> None:
        first = psutil.Process(stack.container("site-a")["State"]["Pid"])
        family = [first, *first.children(recursive=True)]
        try:
            for process in family:
                process.suspend()
            time.sleep(4)
        finally:
            for process in family:
                process.resume()

    async with Load(stack, crowd) as load:
        await asyncio.sleep(1)
        await asyncio.to_thread(pause)
        seconds = await seconds_until(whole, stack)
        await asyncio.sleep(1)
    record("stopped processes of site-a for 4 s", *load.figures(), seconds, load.saw())
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
