"""A reload of nginx's configuration, and its replacement in place by another nginx. No client notices."""

import asyncio
import os
import signal
import statistics
import time

import psutil

from deploy.core.probe import UNCACHED
from tests.chaos.load import Load
from tests.chaos.recovery import gone, seconds_until, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import NativeStack

# A request may arrive on an idle connection that nginx closes during a reload (nginx waits for it only since 1.27.4:
# keepalive_min_timeout). The client repeats it, as RFC 9112, 9.3.1, allows. The load keeps 46 connections; more repeats
# than this in a reload are a fault.
MOST_RESENT = 5


def serving(stack: NativeStack) -> set[int]:
    """Return the nginx workers that accept connections."""
    pids = workers(stack, "nginx")
    return {pid for pid in pids if "shutting down" not in " ".join(psutil.Process(pid).cmdline())}


async def test_reload(stack: NativeStack, crowd: Crowd, record: Record, short: bool) -> None:
    reloads, seconds = 4 if short else 10, []
    async with Load(stack, crowd) as load:
        for _ in range(reloads):
            before = serving(stack)
            os.kill(stack.pids()["nginx"], signal.SIGHUP)
            seconds.append(await seconds_until(lambda before=before: not serving(stack) & before))
            await asyncio.sleep(1)
    record(f"nginx reload, {reloads} ×", *load.figures(), statistics.mean(seconds), load.saw())
    assert load.failed() == 0, load.report()
    assert load.sum("resent") <= MOST_RESENT * reloads, load.report()
    # Watchers stay with the old workers.
    assert (load.told, load.cut) == ({}, {}), load.report()


async def test_upgrade_in_place(stack: NativeStack, crowd: Crowd, record: Record, short: bool) -> None:
    upgrades, seconds, old = 2 if short else 5, [], set()
    supervised = stack.supervisor.getProcessInfo("nginx")["pid"]
    async with Load(stack, crowd) as load:
        for _ in range(upgrades):
            master = stack.pids()["nginx"]
            began = time.monotonic()
            done = await asyncio.to_thread(stack.make, "restart", APP="nginx")
            seconds.append(time.monotonic() - began)
            assert done.returncode == 0, done.stdout
            assert stack.pids()["nginx"] != master
            old.add(master)
            await asyncio.sleep(1)
    record(f"nginx upgrade in place, {upgrades} ×", *load.figures(), statistics.mean(seconds), load.saw())
    assert load.failed() == 0, load.report()
    assert load.sum("resent") <= MOST_RESENT * upgrades, load.report()
    assert (load.told, load.cut) == ({}, {}), load.report()
    # They exit with their last watcher, and supervisord does not notice.
    await seconds_until(lambda: gone(old))
    assert stack.supervisor.getProcessInfo("nginx")["pid"] == supervised
    assert "ready" in stack.make("status").stdout


async def test_a_master_dies_during_the_next_upgrade(stack: NativeStack) -> None:
    """For a moment after an upgrade, there is no pid file."""
    script = stack.supervisor.getProcessInfo("nginx")["pid"]
    pid_file, aside = stack.var / "run/nginx.pid", stack.var / "run/nginx.pid.aside"
    old = stack.pids()["nginx"]
    os.kill(old, signal.SIGUSR2)
    await seconds_until(lambda: psutil.Process(old).children()[-1].children())
    new = stack.pids()["nginx"]
    assert new != old
    pid_file.rename(aside)
    os.kill(old, signal.SIGQUIT)
    os.kill(old, signal.SIGKILL)
    # Not even a zombie, which remains until the machine's PID 1 reaps it.
    await seconds_until(lambda: not psutil.pid_exists(old))
    await asyncio.sleep(1)
    aside.rename(pid_file)
    await asyncio.sleep(2)
    assert stack.supervisor.getProcessInfo("nginx")["pid"] == script
    assert stack.pids()["nginx"] == new
    with stack.client(headers=UNCACHED) as client:
        assert client.get("/").status_code == 200
