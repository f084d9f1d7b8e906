"""Watchers through nginx: spread over all workers of the api, up to date, and apart from short requests."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from deploy.core.apps import APPS
from tests.people import Person
from tests.sample import ENDPOINT, LIVE, write_by_api, write_on_site
from tests.stack.checks import check_headers, upstream
from tests.stack.test_health import restart
from tests.stacks import Stack

WATCHERS = 400


@asynccontextmanager
async def sockets(stack: Stack, together: int) -> AsyncIterator[list[ClientConnection]]:
    """WATCHERS WebSockets, `together` of them opened at a time."""
    url = f"{stack.url.replace('http', 'ws', 1)}{LIVE}/socket"
    opened: list[ClientConnection] = []
    async with AsyncExitStack() as closing:
        while len(opened) < WATCHERS:
            batch = [
                connect(url, ssl=stack.tls, local_addr=(next(stack.addresses), 0), open_timeout=60)
                for _ in range(together)
            ]
            for connection in await asyncio.gather(*batch):
                closing.push_async_callback(connection.close)
                opened.append(connection)
        yield opened


def held(stack: Stack) -> dict[str, int]:
    """Return the number of watchers by worker."""
    names = stack.sockets(*(instance.name for instance in APPS["api"].instances))
    with stack.inside() as inside:
        return {name: inside.get(f"/{name}/health/stats").json()["watchers"] for name in names}


def settled(stack: Stack, total: int) -> dict[str, int]:
    """Return held() once the workers have noticed every watcher that connected or left."""
    deadline = time.monotonic() + 30
    while sum((now := held(stack)).values()) != total:
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    return now


@pytest.mark.parametrize("together", [1, WATCHERS], ids=["one by one", "at once"])
async def test_watchers_are_spread(stack: Stack, together: int) -> None:
    settled(stack, 0)
    async with sockets(stack, together) as opened:
        for connection in opened:
            assert json.loads(await connection.recv())["version"] >= 0
        spread = settled(stack, WATCHERS)
        assert max(spread.values()) <= 1.25 * WATCHERS / len(spread), spread
    settled(stack, 0)


async def test_a_restarted_instance_does_not_draw_every_short_request(stack: Stack) -> None:
    async with sockets(stack, 50):
        settled(stack, WATCHERS)
        # It loses its watchers, while the other instance keeps its own.
        await asyncio.to_thread(restart, stack, "api-a")
        spread = held(stack)
        assert sum(spread[name] for name in stack.sockets("api-a")) == 0, spread
        assert sum(spread[name] for name in stack.sockets("api-b")) >= WATCHERS / 2.5, spread
        with stack.client() as client:
            served = Counter(upstream(client.get(ENDPOINT)) for _ in range(200))
        for instance in ("api-a", "api-b"):
            assert sum(served[name] for name in stack.sockets(instance)) >= 0.4 * 200, served


def blocks_of(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the blocks of an event stream as their fields. A comment has the name "" (HTML standard, 9.2.6)."""
    block: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")
        else:
            yield block
            block = {}


def test_event_stream(stack: Stack, people: Iterator[Person]) -> None:
    path = f"{LIVE}/events"
    with stack.client(timeout=60) as client:
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip, br"}) as response:
            assert response.headers["Content-Type"].partition(";")[0] == "text/event-stream"
            assert "Content-Encoding" not in response.headers
            assert "no-" in response.headers["Cache-Control"]
            check_headers(stack, response.headers.multi_items())
            blocks = blocks_of(response)
            first = next(blocks)
            while "data" not in first:
                first |= next(blocks)
            assert int(first["retry"]) > 0
            state = json.loads(first["data"])
            assert first["id"] == str(state["version"])

            with next(people).client() as writer:
                assert write_on_site(writer).status_code == 302
            second = next(blocks)
            assert json.loads(second["data"])["total"] == state["total"] + 1
            assert int(second["id"]) > int(first["id"])
            # A heartbeat is a comment, without data.
            assert "data" not in next(blocks)

        # A client that reconnects with an older version gets the newest state. With the newest it waits for the next.
        with client.stream("GET", path, headers={"Last-Event-ID": first["id"]}) as response:
            blocks = blocks_of(response)
            again = next(block for block in blocks if "data" in block)
            assert again["id"] == second["id"]
        with client.stream("GET", path, headers={"Last-Event-ID": second["id"]}) as response:
            blocks = blocks_of(response)
            with next(people).client() as writer:
                assert write_by_api(writer).status_code == 201
            news = next(block for block in blocks if "data" in block)
            assert json.loads(news["data"])["total"] == state["total"] + 2


def test_maintenance_disconnects_watchers_politely(stack: Stack) -> None:
    path = f"{LIVE}/events"
    with stack.client(timeout=60) as client:
        with client.stream("GET", path) as response:
            blocks = blocks_of(response)
            assert int(next(blocks)["retry"]) > 0
            try:
                assert stack.make("maintenance on").returncode == 0
                # The stream ends. httpx raises an exception for one that is cut.
                assert list(blocks)
                again = client.get(path)
                assert (again.status_code, again.headers["Retry-After"]) == (503, "120")
            finally:
                assert stack.make("maintenance off").returncode == 0
        with client.stream("GET", path) as response:
            assert response.status_code == 200


def test_long_poll(stack: Stack, people: Iterator[Person]) -> None:
    path = f"{LIVE}/poll"
    with stack.client() as client:
        now = client.get(path)
        version = now.json()["version"]
        started = time.monotonic()
        nothing = client.get(path, params={"after": version, "wait": 2})
        assert time.monotonic() - started >= 2
        assert nothing.status_code in (200, 204, 304)
        if nothing.status_code == 200:
            assert nothing.json() == now.json()
        with next(people).client() as writer:
            assert write_on_site(writer).status_code == 302
        news = client.get(path, params={"after": version, "wait": 10}).json()
    assert news["total"] == now.json()["total"] + 1
    assert news["version"] > version


async def test_a_page_of_another_site_cannot_open_a_websocket(stack: Stack) -> None:
    url = f"{stack.url.replace('http', 'ws', 1)}{LIVE}/socket"
    async with connect(url, ssl=stack.tls, origin=stack.url) as own:  # type: ignore[arg-type]
        assert await own.recv()
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, ssl=stack.tls, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
