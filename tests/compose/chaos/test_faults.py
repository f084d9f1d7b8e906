"""Kills, pauses and lost dependencies, under load: clients see what they see on the machine itself (tests/chaos)."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.load import API, GETS, POSTS, SITE, Load
from tests.chaos.recovery import recovered, seconds_until, whole
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import ComposeStack, docker

# What needs no database.
UNTOUCHED = ("static", "api 3 s")


def kill_nine(stack: ComposeStack, service: str) -> set[int]:
    """A container's first process, as by a crash: `docker kill` is somebody's wish, after which nobody starts it."""
    pid = stack.container(service)["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    return {pid}


async def test_kill_of_a_site(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    async with Load(faults, crowd) as load:
        await asyncio.sleep(1)
        victim = kill_nine(faults, "site-a")
        seconds = await seconds_until(recovered, faults, victim)
        await asyncio.sleep(1)
    record("kill -9 of site-a's container", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == load.failed(API) == load.sum("resent", GETS) == 0, load.report()
    assert load.failed(POSTS) <= faults.cores, load.report()


async def test_kill_of_the_api(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    """Both instances are in it."""
    async with Load(faults, crowd, refusable=API) as load:
        await asyncio.sleep(1)
        victim = kill_nine(faults, "api")
        seconds = await seconds_until(recovered, faults, victim)
        await asyncio.sleep(1)
    record("kill -9 of the api's container", *load.figures(), seconds, load.saw())
    assert load.failed(SITE) == load.failed(("static",)) == 0, load.report()
    assert load.failed() == 0, load.report()


async def test_docker_kill(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    """It stays down, and `make up` brings it back."""
    async with Load(faults, crowd) as load:
        await asyncio.sleep(1)
        docker("kill", faults.container("site-b")["Id"])
        await asyncio.sleep(5)
        assert not whole(faults, "site-b")
        began = time.monotonic()
        done = await asyncio.to_thread(faults.make, "up")
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        assert whole(faults)
    record("docker kill of site-b, then make up", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == load.failed(API) == 0, load.report()
    assert load.failed(POSTS) <= faults.cores, load.report()


@contextmanager
def paused(stack: ComposeStack, service: str) -> Iterator[None]:
    container = stack.container(service)["Id"]
    docker("pause", container)
    try:
        yield
    finally:
        docker("unpause", container)


@contextmanager
def disconnected(stack: ComposeStack, service: str) -> Iterator[None]:
    container, network = stack.container(service)["Id"], f"{stack.name}_data"
    docker("network", "disconnect", network, container)
    try:
        yield
    finally:
        docker("network", "connect", "--alias", service, network, container)


@contextmanager
def stopped(stack: ComposeStack, service: str) -> Iterator[None]:
    container = stack.container(service)["Id"]
    docker("stop", container)
    try:
        yield
    finally:
        docker("start", container)


async def outage(how: Callable[..., object], stack: ComposeStack, service: str, seconds: float) -> None:
    def gone() -> None:
        with how(stack, service):  # type: ignore[attr-defined]
            time.sleep(seconds)

    await asyncio.to_thread(gone)


async def test_pause_of_a_site(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    """What it holds waits, and few others ask it."""
    async with Load(faults, crowd) as load:
        await asyncio.sleep(1)
        await outage(paused, faults, "site-a", seconds=4)
        seconds = await seconds_until(whole, faults)
        await asyncio.sleep(1)
    record("docker pause of site-a for 4 s", *load.figures(), seconds, load.saw())
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()


@pytest.mark.parametrize("how", [stopped, paused, disconnected])
async def test_database(faults: ComposeStack, crowd: Crowd, record: Record, how: Callable[..., object]) -> None:
    """503 with Retry-After, no worker wedged, nothing restarted, and what was acknowledged is there."""
    before = faults.pids()
    async with Load(faults, crowd, refusable=set(GETS + POSTS) - set(UNTOUCHED)) as load:
        await asyncio.sleep(1)
        await outage(how, faults, "postgres", seconds=5)
        seconds = await seconds_until(whole, faults)
        await asyncio.sleep(2)
    record(f"PostgreSQL {how.__name__} for 5 s", *load.figures(), seconds, load.saw())
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    assert faults.pids() == before


@pytest.mark.parametrize("how", [stopped, disconnected])
async def test_redis(faults: ComposeStack, crowd: Crowd, record: Record, how: Callable[..., object]) -> None:
    """Writes and pages go on, and watchers hear of a write by the api's look at the database."""
    before = faults.pids()
    async with Load(faults, crowd) as load:
        await asyncio.sleep(2)
        began = time.monotonic()
        await outage(how, faults, "redis", seconds=5)
        ended = time.monotonic()
        seconds = await seconds_until(whole, faults)
        await asyncio.sleep(1)
    late = [seconds for heard, seconds in load.late if began < heard < ended]
    note = f"{load.saw()}; watchers heard of a write after at most {max(late):.1f} s"
    record(f"Redis {how.__name__} for 5 s", *load.figures(), seconds, note)
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
    # Two seconds, and as much again for a machine that is busy.
    assert max(late) < 4
    assert faults.pids() == before
