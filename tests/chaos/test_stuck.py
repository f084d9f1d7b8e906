"""Workers that hang in a request, and workers that grow: each is replaced, and other clients do not wait."""

import asyncio
import time
from dataclasses import replace

import psycopg
import pytest

from deploy.core.apps import APPS
from tests.chaos.client import Answer, Connection
from tests.chaos.load import API, Load
from tests.chaos.recovery import gone, seconds_until, whole, workers
from tests.chaos.table import Record
from tests.sample import Crowd, lock
from tests.stacks import NativeStack


def logs(stack: NativeStack, app: str) -> str:
    return "".join(file.read_text() for file in (stack.var / "log").glob(f"{app}-[ab].log"))


async def test_endless_loops(stack: NativeStack, crowd: Crowd, record: Record) -> None:
    """One hanging request in each app at the same time: it is killed at its deadline, and the log says where it was.

    In the api it blocks a process. The other requests of this process get a 503 when it is killed.
    """
    before = {app: workers(stack, *stack.instances_of(app)) for app in APPS}
    async with Load(stack, crowd, refusable=API) as load:
        await asyncio.sleep(1)
        began = time.monotonic()
        stuck = await asyncio.gather(
            *(Connection(stack).ask("GET", path) for path in ("/faults/spin", "/api/v1/faults/spin"))
        )
        seconds = await seconds_until(whole, stack) + time.monotonic() - began
        await asyncio.sleep(1)
    record("an endless loop in each app", *load.figures(), seconds, load.saw())
    assert [answer.status for answer in stuck] == [503, 503]
    for app, (line, function) in {
        "site": ("django_site/faults.py", "spin"),
        "api": ("tornado_api/faults.py", "get"),
    }.items():
        [victim] = before[app] - workers(stack, *stack.instances_of(app))
        assert gone({victim})
        traceback = [each for each in logs(stack, app).splitlines() if line in each and each.endswith(f"in {function}")]
        assert len(traceback) == 1, traceback
    assert load.failed() == load.sum("resent") == 0, load.report()
    # The blocked process held each client of the api at most once.
    assert load.sum("refused") <= len(load.clients) + len(load.watchers), load.report()


async def test_locked_row(stack: NativeStack, crowd: Crowd, record: Record) -> None:
    """Another transaction locks a row: clients that wait for the row get a 503 with Retry-After."""
    if "DATABASE_URL" not in stack.environment:
        pytest.skip("SQLite locks no rows")
    write = next(crowd.writes())
    kinds = zip(("site write", "api write"), crowd.people, strict=False)
    both = {kind: replace(write, person=person) for kind, person in kinds}

    async def send() -> list[tuple[Answer, float]]:
        return await asyncio.gather(*(timed(write.request(kind)) for kind, write in both.items()))

    async def timed(request: tuple[str, dict[str, str], bytes]) -> tuple[Answer, float]:
        began = time.monotonic()
        return await Connection(stack).ask("POST", *request), time.monotonic() - began

    async with Load(stack, crowd) as load:
        with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
            connection.execute(lock(both.values()))
            refused = await send()
        counted = [answer.status for answer, _ in await send()]
    waited = " and ".join(f"{seconds:.1f}" for _, seconds in refused)
    record("a locked row", *load.figures(), None, f"{load.saw()}; who waited for it 503 in {waited} s")
    assert [answer.status for answer, _ in refused] == [503, 503]
    assert all(int(answer.headers["retry-after"]) > 0 for answer, _ in refused)
    assert counted == [302, 201]
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()


@pytest.mark.parametrize(("app", "path"), [("site", "/faults/leak"), ("api", "/api/v1/faults/leak")])
async def test_leak(stack: NativeStack, crowd: Crowd, record: Record, app: str, path: str) -> None:
    """Each request leaks 300 MB: the second one in a worker exceeds its limit."""
    before = workers(stack, *stack.instances_of(app))
    async with Load(stack, crowd) as load:
        for _ in range(len(before) + 1):
            answer = await Connection(stack).ask("GET", f"{path}?mb=300")
            assert answer.status == 200
        seconds = await seconds_until(lambda: before - workers(stack, *stack.instances_of(app)))
        seconds += await seconds_until(whole, stack)
        await asyncio.sleep(1)
    record(f"a leak in the {app}", *load.figures(), seconds, load.saw())
    assert load.failed() == load.sum("resent") == load.cut.total() == 0, load.report()
