"""Releases on hosts under load: good ones, broken ones, and rollbacks. No request fails.

tests/scenarios has the cases that all targets share.
"""

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil
import pytest

from deploy.core.probe import UNCACHED
from tests.chaos.load import Load
from tests.chaos.table import Record
from tests.hosts.shapes import FIVE_LONG, both_shapes, one_and_long_five
from tests.hosts.stack import HostsStack
from tests.sample import EITHER, MIGRATION, NEW, OLD, TEMPLATE, Crowd
from tests.stacks import edited

Edit = tuple[str, str, str]

TODAY = (TEMPLATE, OLD, NEW)
# A shorter wait than in production.
HASTE = ("deploy/core/roll.py", "READY_WITHIN = 30", "READY_WITHIN = 3")
# The release check does not find this fault, because it uses other run-time files.
DIES = 'application = Handler()\nif os.environ["VAR_DIR"] == "/srv/app/var":\n    raise OSError("not here")'
BROKEN: dict[str, tuple[list[Edit], str]] = {
    "does not start": (
        [("django_site/config/wsgi.py", "application = Handler()", DIES), HASTE],
        "not here",
    ),
    "is not ready": ([("tornado_api/health.py", "200 if ready else 503", "503"), HASTE], "was not ready within 3 s"),
    "cannot migrate": ([], "division by zero"),
}


@pytest.fixture(scope="module")
def crowd(stack: HostsStack) -> Crowd:
    return Crowd.gather(stack)


@contextmanager
def committed(stack: HostsStack, *edits: Edit, migration: str = "") -> Iterator[None]:
    """For the block, commit edits and a migration that runs this SQL."""
    file = stack.project / f"django_site/{MIGRATION[0]}/migrations/9999_more.py"
    with ExitStack() as edit:
        for each in edits:
            edit.enter_context(edited(stack, *each))
        if migration:
            lines = (
                f"dependencies = [{MIGRATION}]",
                f'operations = [migrations.RunSQL("{migration}", "")]',
            )
            head = "from django.db import migrations\n\n\nclass Migration(migrations.Migration):"
            file.write_text("\n    ".join((head, *lines)) + "\n")
            edit.callback(file.unlink)
        stack.commit("Another release")
        yield
    stack.commit("As before")


async def make(stack: HostsStack, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(stack.make, target, **variables)


def releases(stack: HostsStack) -> dict[str, str]:
    """Return the current release of each host that runs nginx or an app."""
    return {host.name: stack.release(host) for group in ("edge", *stack.apps) for host in stack.on(group)}


def serves(stack: HostsStack, heading: str) -> None:
    """Check that every service is ready and of one release, and that the first page has this heading."""
    done = stack.make("status")
    assert done.returncode == 0, done.stdout
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    [release] = set(releases(stack).values())
    for host in stack.network:
        services = [name for app in stack.apps if host.name in stack.shape[app] for name in stack.instances_of(app)]
        services += stack.edge_services if host.name in stack.shape["edge"] else []
        words = (release, f" {' '.join(services)} ready ") if services else ()
        for word in (*words, " none "):
            assert word in rows[host.name], done.stdout
    with stack.client(headers=UNCACHED) as client:
        assert all(heading in client.get("/").text for _ in range(8))


def check_no_failure(load: Load) -> None:
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()


@both_shapes
async def test_a_new_release_while_a_second_is_refused(stack: HostsStack, crowd: Crowd, record: Record) -> None:
    with committed(stack, TODAY):
        async with Load(stack, crowd) as load:
            began = time.monotonic()
            deploy = asyncio.create_task(make(stack, "deploy"))
            await asyncio.sleep(5)
            second = await make(stack, "deploy")
            done = await deploy
            seconds = time.monotonic() - began
            # Until the last watchers have reconnected.
            await asyncio.sleep(6)
    assert done.returncode == 0, done.stdout
    assert second.returncode
    assert re.search(r"another one is running: deploy of HEAD, \S+@\S+, since 20[-0-9]+ [:0-9]+", second.stdout)
    back = sorted(load.back["api events"] + load.back["api socket"])
    note = f"{load.saw()}; watchers told × {load.told.total()}, back after {back[0]:.1f} to {back[-1]:.1f} s"
    record(f"make deploy, {stack.name}", *load.figures(), seconds, note)
    check_no_failure(load)
    # At least once for each watcher.
    assert load.told.total() >= 16
    serves(stack, NEW)


@pytest.mark.parametrize(
    ("stack", "fault"),
    [
        pytest.param(shape, fault, marks=() if (shape, fault) == ("hosts", "does not start") else pytest.mark.long)
        for shape in ("hosts", "five")
        for fault in BROKEN
    ],
    indirect=["stack"],
)
async def test_a_broken_release(stack: HostsStack, crowd: Crowd, record: Record, fault: str) -> None:
    """Every host runs the same release as before, and the message has the reason."""
    edits, reason = BROKEN[fault]
    before = releases(stack)
    with committed(stack, *edits, migration="SELECT 1/0" if fault == "cannot migrate" else ""):
        async with Load(stack, crowd) as load:
            began = time.monotonic()
            done = await make(stack, "deploy")
            seconds = time.monotonic() - began
            await asyncio.sleep(2)
    record(f"make deploy of a release that {fault}, {stack.name}", *load.figures(), seconds, load.saw())
    assert done.returncode
    assert reason in done.stdout
    assert f"Every host runs what it ran before, {before[stack.first('site-a').name]}" in done.stdout
    assert releases(stack) == before
    check_no_failure(load)
    serves(stack, EITHER)


@one_and_long_five
async def test_rollbacks(stack: HostsStack, crowd: Crowd, record: Record) -> None:
    """Roll back to the previous release, and by name to the newer one."""
    name = stack.release(stack.first("site-a"))
    for variables, heading in (({}, OLD), ({"RELEASE": name}, NEW)):
        async with Load(stack, crowd) as load:
            began = time.monotonic()
            done = await make(stack, "rollback", **variables)
            seconds = time.monotonic() - began
            await asyncio.sleep(2)
        assert done.returncode == 0, done.stdout
        record(f"make rollback, {stack.name}", *load.figures(), seconds, load.saw())
        check_no_failure(load)
        serves(stack, heading)


@one_and_long_five
async def test_the_controller_is_killed(stack: HostsStack, crowd: Crowd, record: Record) -> None:
    """Kill the deploy while instances restart. The next deploy continues from there."""
    log = stack.var.parent / "killed.log"
    async with Load(stack, crowd) as load:
        with log.open("w") as output:
            command = ["make", "--no-print-directory", "deploy"]
            killed = subprocess.Popen(  # noqa: ASYNC220
                command, cwd=stack.project, env=stack.environment, stdout=output, stderr=output
            )
        while "\nRoll the apps\n" not in log.read_text():
            assert killed.poll() is None, log.read_text()
            await asyncio.sleep(0.05)
        for process in (psutil.Process(killed.pid), *psutil.Process(killed.pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        killed.wait()
        half = releases(stack)
        began = time.monotonic()
        done = await make(stack, "deploy")
        seconds = time.monotonic() - began
        await asyncio.sleep(2)
    record(f"kill -9 of make deploy, and the next one, {stack.name}", *load.figures(), seconds, load.saw())
    assert done.returncode == 0, done.stdout
    assert half != releases(stack)
    check_no_failure(load)
    serves(stack, OLD)


@pytest.mark.parametrize("stack", [FIVE_LONG], indirect=True)
async def test_a_host_is_drained_and_returns(stack: HostsStack, crowd: Crowd, record: Record) -> None:
    def without(inventory: Any) -> None:
        children = inventory["all"]["children"]
        for group in (inventory["all"], *(children[app] for app in stack.apps)):
            del group["hosts"]["app-2"]

    def upstreams() -> set[str]:
        files = [
            stack.files(host) / f"srv/app/var/nginx/{app}/http.conf" for host in stack.on("edge") for app in ("site",)
        ]
        return {file.read_text() for file in files}

    [before] = upstreams()
    async with Load(stack, crowd) as load:
        began = time.monotonic()
        drained = await make(stack, "drain", HOST="app-2")
        seconds = time.monotonic() - began
        with stack.other_inventory(without):
            done = [drained, await make(stack, "provision"), await make(stack, "deploy")]
        [meanwhile] = upstreams()
        done += [await make(stack, "provision"), await make(stack, "deploy")]
    for each in done:
        assert each.returncode == 0, each.stdout
    record("make drain, and the host out of the inventory and in again", *load.figures(), seconds, load.saw())
    assert stack.network["app-2"].address in before
    assert stack.network["app-2"].address not in meanwhile
    check_no_failure(load)
    serves(stack, OLD)
    refused = stack.make("drain", HOST="data-1")
    assert refused.returncode
    assert "HOST is 'data-1'" in refused.stdout


def test_no_rollback_over_a_breaking_migration(stack: HostsStack) -> None:
    before = releases(stack)
    with committed(stack, TODAY, migration="SELECT 1"):
        done = stack.make("deploy")
    assert done.returncode == 0, done.stdout
    refused = stack.make("rollback")
    assert refused.returncode
    assert f"cannot run on a database that has {MIGRATION[0]}.9999_more" in refused.stdout
    serves(stack, NEW)
    forced = stack.make("rollback", FORCE="yes")
    assert forced.returncode == 0, forced.stdout
    assert releases(stack) == before
    serves(stack, OLD)
    # Otherwise the following tests could only use the release with this migration.
    forget = (
        "from django.db.migrations.recorder import MigrationRecorder as R; R.Migration.objects.filter(name='9999_more')"
    )
    stack.manage("shell", "--verbosity=0", f"--command={forget}.delete()")
