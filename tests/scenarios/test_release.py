"""Restarts and releases, good and broken, under load: no request fails."""

import asyncio
import statistics
import time
from contextlib import ExitStack

import pytest

from tests.chaos.load import Load
from tests.chaos.recovery import whole, workers
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import NativeStack, Stack, edited


def check_no_failure(load: Load) -> None:
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()


async def test_rolling_restarts(stack: Stack, crowd: Crowd, record: Record, short: bool) -> None:
    native = isinstance(stack, NativeStack)
    restarts, at_least = (20, 50_000) if native and not short else (3 if native else 1, 0)
    seconds = []
    async with Load(stack, crowd) as load:
        for _ in range(restarts):
            began, before = time.monotonic(), stack.pids()
            done = await asyncio.to_thread(stack.make, "restart")
            seconds.append(time.monotonic() - began)
            assert done.returncode == 0, done.stdout
            after = stack.pids()
            assert {service for service in before if before[service] == after[service]} == {"nginx"}
        await asyncio.sleep(max(0, (at_least - load.sum("sent")) / load.rate))
    back = sorted(load.back["api events"] + load.back["api socket"])
    note = f"{load.saw()}; watchers told × {load.told.total()}, back after {back[0]:.1f} to {back[-1]:.1f} s"
    record(f"{restarts} × make restart", *load.figures(), statistics.mean(seconds), note)
    check_no_failure(load)
    # The api tells watchers to reconnect after 0.5 to 5 s, at random.
    deciles = statistics.quantiles(load.back["api events"], n=10)
    assert deciles[-1] - deciles[0] > 1, f"watchers came back all at once: {deciles}"
    assert load.sum("sent") >= at_least


def skip_if_short_on_hosts(stack: Stack, short: bool) -> None:
    if short and stack.rolls_back:
        pytest.skip("tests/hosts/test_deploy.py makes releases on hosts")


async def test_a_new_release(stack: Stack, crowd: Crowd, record: Record, short: bool) -> None:
    """Edit both apps."""
    skip_if_short_on_hosts(stack, short)
    before = stack.pids()
    async with Load(stack, crowd) as load:
        with ExitStack() as edits:
            edits.enter_context(edited(stack, "django_site/config/wsgi.py", "import os", "import os  # new"))
            edits.enter_context(edited(stack, "tornado_api/app.py", "import re", "import re  # new"))
            began = time.monotonic()
            done = await asyncio.to_thread(stack.deploy)
            seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        after = stack.pids()
        await asyncio.sleep(1)
    record("a release of both apps", *load.figures(), seconds, f"{load.saw()}; watchers told × {load.told.total()}")
    assert {service for service in before if before[service] == after[service]} == {"nginx"}
    check_no_failure(load)


async def test_an_edit_of_nginx(stack: Stack, crowd: Crowd, record: Record) -> None:
    """A reload does not touch the apps."""
    if stack.rolls_back:
        pytest.skip("here every release restarts the apps")
    stack.deploy()  # the previous release
    before = stack.pids()
    async with Load(stack, crowd) as load:
        with edited(stack, "nginx/nginx.conf", "keepalive_timeout 65s", "keepalive_timeout 64s"):
            done = [await asyncio.to_thread(stack.deploy)]
        done.append(await asyncio.to_thread(stack.deploy))
        await asyncio.sleep(1)
    record("make up with other files of nginx, 2 ×", *load.figures(), None, load.saw())
    for each in done:
        assert each.returncode == 0, each.stdout
        assert "reload" in each.stdout
    assert stack.pids() == before
    # A reload closes idle connections, on which a request may be arriving (tests/chaos/test_nginx.py).
    assert (load.failed(), load.cut) == (0, {}), load.report()


# A text in a file; the text in a broken release; the text in the next, good release.
IMPORTS = ("import ", "import no_such, ", "import ")
BREAKS = ("import re", "import re, no_such", "import re")
HEALTH = ("200 if ready else 503", "503", "(200 if ready else 503)")
NATIVE_IF_SHORT = pytest.mark.native_if_short


@pytest.mark.parametrize(
    ("app", "fault", "path", "texts", "reason"),
    [
        ("site", "that does not start", "django_site/config/wsgi.py", IMPORTS, "no_such"),
        # deploy/core/roll.py rolls and waits for readiness on every target.
        pytest.param("api", "that does not start", "tornado_api/app.py", BREAKS, "no_such", marks=NATIVE_IF_SHORT),
        pytest.param(
            "api", "that is not ready", "tornado_api/health.py", HEALTH, "was not ready", marks=NATIVE_IF_SHORT
        ),
    ],
)
async def test_a_broken_release(
    stack: Stack,
    crowd: Crowd,
    record: Record,
    short: bool,
    app: str,
    fault: str,
    path: str,
    texts: tuple[str, str, str],
    reason: str,
) -> None:
    """A broken release stops at the first instance, with the reason. The next good release repairs it."""
    skip_if_short_on_hosts(stack, short)
    first, *others = stack.instances_of(app)
    (good, broken, repaired), untouched = texts, workers(stack, *others)
    async with Load(stack, crowd) as load:
        with edited(stack, path, good, broken):
            done = await asyncio.to_thread(stack.deploy)
        assert done.returncode
        assert reason in done.stdout
        # The traceback comes from the app, not from the deployment.
        assert "deploy/cli.py" not in done.stdout
        assert workers(stack, *others) == untouched
        assert whole(stack, first) == stack.rolls_back
        await asyncio.sleep(2)
        began = time.monotonic()
        with edited(stack, path, good, repaired):
            done = await asyncio.to_thread(stack.deploy)
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        assert whole(stack)
        await asyncio.sleep(2)
    record(f"a release of the {app} {fault}", *load.figures(), seconds, load.saw())
    check_no_failure(load)
