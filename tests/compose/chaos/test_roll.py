"""Restarts, new images and broken ones, under load. Nobody notices, as on the machine itself (tests/chaos)."""

import asyncio
import time
from contextlib import ExitStack

import psutil
import pytest

from tests.chaos.load import Load
from tests.chaos.recovery import whole
from tests.chaos.table import Record
from tests.sample import Crowd
from tests.stacks import ComposeStack, edited


async def test_restart(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    async with Load(faults, crowd) as load:
        began, before = time.monotonic(), faults.pids()
        done = await asyncio.to_thread(faults.make, "restart")
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        after = faults.pids()
        await asyncio.sleep(1)
    record("make restart", *load.figures(), seconds, f"{load.saw()}; watchers told × {load.told.total()}")
    assert {part for part in before if before[part] == after[part]} == {"nginx"}
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()


async def test_nginx_files(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    before = faults.pids()
    async with Load(faults, crowd) as load:
        with edited(faults, "nginx/nginx.conf", "keepalive_timeout 65s", "keepalive_timeout 64s"):
            done = await asyncio.to_thread(faults.make, "up")
        assert "reloaded" in done.stdout
        done = await asyncio.to_thread(faults.make, "up")
        assert "reloaded" in done.stdout
        await asyncio.sleep(1)
    record("make up with other files of nginx, 2 ×", *load.figures(), None, load.saw())
    assert faults.pids() == before
    # A reload closes idle connections, on which a request may be arriving: tests/chaos/test_nginx.py.
    assert (load.failed(), load.cut) == (0, {}), load.report()


async def test_new_images(faults: ComposeStack, crowd: Crowd, record: Record) -> None:
    """`make up` after an edit of both apps."""
    before = faults.containers()
    async with Load(faults, crowd) as load:
        with ExitStack() as edits:
            edits.enter_context(edited(faults, "django_site/config/wsgi.py", "import os", "import os  # new"))
            edits.enter_context(edited(faults, "tornado_api/app.py", "import ", "import sys  # new\nimport "))
            began = time.monotonic()
            done = await asyncio.to_thread(faults.make, "up")
            seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        await asyncio.sleep(1)
    record("a new image of each app", *load.figures(), seconds, f"{load.saw()}; watchers told × {load.told.total()}")
    after = faults.containers()
    replaced = {name for name in before if before[name]["Id"] != after[name]["Id"]}
    assert replaced == {"site-a", "site-b", "api", "migrate"}
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()


# What a file says; in a release that is broken; in the next good one.
IMPORTS = ("import ", "import no_such, ", "import ")
HEALTH = ("200 if ready else 503", "503", "(200 if ready else 503)")


@pytest.mark.parametrize(
    ("app", "fault", "path", "words", "reason"),
    [
        ("site", "that does not start", "django_site/config/wsgi.py", IMPORTS, "no_such"),
        ("api", "that does not start", "tornado_api/app.py", IMPORTS, "no_such"),
        ("api", "that is not ready", "tornado_api/handlers.py", HEALTH, "was not ready"),
    ],
)
async def test_broken_image(
    faults: ComposeStack,
    crowd: Crowd,
    record: Record,
    app: str,
    fault: str,
    path: str,
    words: tuple[str, str, str],
    reason: str,
) -> None:
    """It stops at `a`, and says why; `b` serves on; the next good one heals it, the one before or another."""
    other, (good, broken, mended) = faults.pids()[f"{app}-b"], words
    async with Load(faults, crowd) as load:
        with edited(faults, path, good, broken):
            done = await asyncio.to_thread(faults.make, "up")
        assert done.returncode
        assert reason in done.stdout
        assert f"{app}-b serves on" in done.stdout
        assert not whole(faults, f"{app}-a")
        assert whole(faults, f"{app}-b")
        assert psutil.pid_exists(other)
        began = time.monotonic()
        with edited(faults, path, good, mended):
            healed = await asyncio.to_thread(faults.make, "up")
        seconds = time.monotonic() - began
        assert healed.returncode == 0, healed.stdout
        assert whole(faults)
        await asyncio.sleep(1)
    record(f"an image of the {app} {fault}", *load.figures(), seconds, load.saw())
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
