"""nginx itself: a reload of its configuration, and its replacement by another nginx, in place. Nobody notices."""

import asyncio
import os
import signal
import statistics
import time

import psutil

from tests.chaos.load import Load
from tests.chaos.recovery import gone, seconds_until, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import NativeStack

# A client's request may meet the end of an idle connection that nginx closes when it reloads (until 1.27.4, which waits
# for it: keepalive_min_timeout). The client sends it again, as RFC 9112, 9.3.1, says. It keeps 46
# connections; more than these each time would be a fault.
MOST_RESENT = 5


def serving(stack: NativeStack) -> set[int]:
    """nginx's workers that accept connections."""
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
    # When the last watcher that they held has gone, so have they; and supervisord has not noticed.
    await seconds_until(lambda: gone(old))
    assert stack.supervisor.getProcessInfo("nginx")["pid"] == supervised
    assert "ready" in stack.make("status").stdout


async def test_a_master_dies_during_the_next_upgrade(stack: NativeStack) -> None:
    """Whoever looks for the one that took over finds no pid file then, for a moment."""
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
    # Not even a zombie, which it stays until the machine's first process has seen to it.
    await seconds_until(lambda: not psutil.pid_exists(old))
    await asyncio.sleep(1)
    aside.rename(pid_file)
    await asyncio.sleep(2)
    assert stack.supervisor.getProcessInfo("nginx")["pid"] == script
    assert stack.pids()["nginx"] == new
    with stack.client() as client:
        assert client.get("/").status_code == 200
