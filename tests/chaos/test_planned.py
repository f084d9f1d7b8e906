"""What an operator does: restarts, and releases that are broken. Nobody notices."""

import asyncio
import statistics
import time

import pytest

from tests.chaos.load import Load
from tests.chaos.recovery import whole, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import Stack, edited


async def test_rolling_restarts(stack: Stack, crowd: Crowd, record: Record, short: bool) -> None:
    restarts, at_least = (3, 0) if short else (20, 50_000)
    seconds = []
    async with Load(stack, crowd) as load:
        for _ in range(restarts):
            began, before = time.monotonic(), stack.pids()
            done = await asyncio.to_thread(stack.make, "restart")
            seconds.append(time.monotonic() - began)
            assert done.returncode == 0, done.stdout
            after = stack.pids()
            assert {part for part in before if before[part] == after[part]} == {"nginx"}
        await asyncio.sleep(max(0, (at_least - load.sum("sent")) / load.rate))
    back = sorted(load.back["api events"] + load.back["api socket"])
    note = f"{load.saw()}; watchers told × {load.told.total()}, back after {back[0]:.1f} to {back[-1]:.1f} s"
    record(f"{restarts} × make restart", *load.figures(), statistics.mean(seconds), note)
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
    # As the api asks of them: from 0.5 to 5 s, at random.
    deciles = statistics.quantiles(load.back["api events"], n=10)
    assert deciles[-1] - deciles[0] > 1, f"watchers came back all at once: {deciles}"
    assert load.sum("sent") >= at_least


@pytest.mark.parametrize(
    ("app", "fault", "path", "old", "new", "reason"),
    [
        ("site", "that does not start", "django_site/config/wsgi.py", "import ", "import no_such, ", "no_such"),
        ("api", "that is not ready", "tornado_api/handlers.py", "200 if ready else 503", "503", "was not ready"),
    ],
)
async def test_broken_release(
    stack: Stack, crowd: Crowd, record: Record, app: str, fault: str, path: str, old: str, new: str, reason: str
) -> None:
    """It stops at `a`, and says why; `b` serves on; the next good one heals it."""
    other = workers(stack, f"{app}-b")
    async with Load(stack, crowd) as load:
        # A shorter wait than for real.
        with edited(stack, path, old, new), edited(stack, "deploy/instance.py", "READY = 30", "READY = 3"):
            done = await asyncio.to_thread(stack.make, "restart", APP=app)
        assert done.returncode
        assert reason in done.stdout
        assert "Traceback" not in done.stdout.partition("The end of")[0]
        assert workers(stack, f"{app}-b") == other
        assert not whole(stack, f"{app}-a")
        await asyncio.sleep(2)
        began = time.monotonic()
        healed = await asyncio.to_thread(stack.make, "restart", APP=app)
        seconds = time.monotonic() - began
        assert healed.returncode == 0, healed.stdout
        assert whole(stack)
        await asyncio.sleep(2)
    record(f"a release of the {app} {fault}", *load.figures(), seconds, load.saw())
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
