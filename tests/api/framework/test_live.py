"""Watching: every watcher, however slow, gets the newest state soon, and it is encoded once."""

import asyncio
import gc
import json
import socket
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.api.checks import problem
from tests.api.framework.sample import CounterStore, GaugeStore, Subject, fresh, write
from tests.api.framework.waiting import until, write_elsewhere
from tests.api.served import Served
from tests.api.tokens import owner
from tests.api.watching import newest, news, watch
from tornado_api import bus, live, reads, watching

pytestmark = pytest.mark.slow


class Heavy(msgspec.Struct):
    """A state of 200 kB."""

    version: int
    padding: str = "x" * 200_000


async def raw(api: Served, path: str, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client with small buffers that reads only on demand."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", int(api.address.partition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=client, limit=32 * 1024)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {api.address}", *headers, "", ""]).encode())
    return reader, writer


def socket_of(api: Served, subject: Subject, **options: Any) -> connect:
    return connect(f"ws://{api.address}{subject.socket}", **options)


async def message(connection: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), 10))
    return found


async def test_event_stream(api: Served) -> None:
    subject = await fresh(api)
    async with api.client.stream("GET", subject.events) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
    async with watch(api, subject) as events:
        assert int((await anext(events))["retry"]) > 0
        assert await news(events) == await newest(api, subject)
        await write(api, subject)
        assert await news(events) == await newest(api, subject)
    await until(lambda: api.app.hub.watchers == 0)
    assert api.app.hub.channels == {}


async def test_heartbeats(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT", 0.1)
    subject = await fresh(api)
    async with watch(api, subject) as events:
        await news(events)
        for _ in range(3):
            assert await anext(events) == {"": ""}


async def test_reconnect_times_are_random(api: Served) -> None:
    subject = await fresh(api)
    times = set()
    for _ in range(10):
        async with watch(api, subject) as events:
            times.add((await anext(events))["retry"])
    assert len(times) > 5


async def test_reconnecting_to_an_event_stream(api: Served) -> None:
    subject = await fresh(api)
    await write(api, subject)
    async with watch(api, subject, **{"Last-Event-ID": "1"}) as events:
        await anext(events)
        second = asyncio.ensure_future(news(events))
        await asyncio.sleep(0.5)
        assert not second.done(), "it was sent what it had"
        await write(api, subject)
        assert (await second)["version"] == 2
    async with watch(api, subject, **{"Last-Event-ID": "1"}) as events:
        assert (await news(events))["version"] == 2
    for nonsense in ("x", "-1", "9" * 30, ""):
        async with watch(api, subject, **{"Last-Event-ID": nonsense}) as events:
            assert (await news(events))["version"] == 2


async def test_reconnecting_with_a_version_that_is_new_to_this_process(api: Served) -> None:
    """No watcher gets an older state than it has. It may have a newer one from another, faster process."""
    subject = await fresh(api)
    async with watch(api, subject) as events:
        await news(events)
        version = await write_elsewhere(api, subject)
        async with watch(api, subject, **{"Last-Event-ID": str(version)}) as again:
            await anext(again)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(news(again), 0.5)


async def test_socket(api: Served) -> None:
    subject = await fresh(api)
    async with socket_of(api, subject) as connection:
        assert await message(connection) == await newest(api, subject)
        await write(api, subject)
        assert await message(connection) == await newest(api, subject)
    await until(lambda: api.app.hub.watchers == 0)


@pytest.mark.parametrize("size", [0, 100, 125, 126, 65_500, 65_535, 65_536, 200_000])
async def test_messages_of_any_size(api: Served, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The length of a WebSocket's frame has one, three or nine bytes. The JSON around the padding has 26."""

    async def state(key: int) -> Heavy:
        return Heavy(0, "x" * max(size - 26, 0))

    subject = await fresh(api)
    monkeypatch.setattr(api.app.store(CounterStore), "state", state)
    async with socket_of(api, subject) as connection:
        assert await message(connection) == {"version": 0, "padding": "x" * max(size - 26, 0)}


async def test_other_requests_have_their_turn_while_watchers_are_told(api: Served) -> None:
    channel = live.Channel("counters:1", api.app.store(CounterStore), 1)
    told: list[int] = []
    watchers = [live.Watcher() for _ in range(5 * live.BATCH)]
    for watcher in watchers:
        watcher.changed = lambda: told.append(1)  # type: ignore[method-assign]
    channel.watchers = set(watchers)
    telling = asyncio.ensure_future(api.app.hub.tell(channel))
    turns = []
    while not telling.done():
        await asyncio.sleep(0)
        turns.append(len(told))
    assert max(after - before for before, after in pairwise([0, *turns])) == live.BATCH
    assert len(told) == 5 * live.BATCH


async def test_socket_takes_no_message(api: Served) -> None:
    subject = await fresh(api)
    async with socket_of(api, subject) as connection:
        await connection.send("hello")
        await connection.wait_closed()
        assert connection.close_code == 1003
    async with socket_of(api, subject) as connection:
        await connection.send("x" * 2000)
        await connection.wait_closed()
        assert connection.close_code == 1009


async def test_socket_of_another_origin(api: Served) -> None:
    subject = await fresh(api)
    async with socket_of(api, subject, origin=f"http://{api.address}") as connection:
        await message(connection)
    for origin in ("https://evil.example", f"https://{api.address}", f"http://{api.address}0", "null"):
        with pytest.raises(InvalidStatus) as refused:
            await socket_of(api, subject, origin=origin)
        assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["status"] == 403


async def test_socket_without_a_handshake(api: Served) -> None:
    subject = await fresh(api)
    response = await api.client.get(subject.socket)
    problem(response, 426)
    assert response.headers["Upgrade"] == "websocket"


async def test_long_poll(api: Served) -> None:
    subject = await fresh(api)
    now = await api.client.get(subject.long_poll)
    assert now.json() == await newest(api, subject)
    assert now.headers["Cache-Control"] == "no-store"
    started = time.monotonic()
    nothing = await api.client.get(subject.long_poll, params={"after": 0, "wait": 0.5})
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert time.monotonic() - started >= 0.5
    waiting = asyncio.ensure_future(api.client.get(subject.long_poll, params={"after": 0}))
    await until(lambda: api.app.hub.watchers)
    await write(api, subject)
    assert (await waiting).json() == await newest(api, subject)
    # A watcher with an older version gets the newest one at once.
    assert (await api.client.get(subject.long_poll, params={"after": 0})).json()["version"] == 1


async def test_hanging_up_while_waiting(api: Served) -> None:
    subject = await fresh(api)
    waiting = asyncio.ensure_future(api.client.get(subject.long_poll, params={"after": 0}))
    await until(lambda: api.app.hub.watchers)
    waiting.cancel()
    await until(lambda: not api.app.hub.watchers)


async def test_two_stores_with_the_same_ids(api: Served) -> None:
    """A change of a gauge does not wake the watchers of the counter with the same id, and the other way round."""
    subject = await fresh(api)
    gauges, gauge = api.app.store(GaugeStore), Subject(subject.id, "gauges")
    await gauges.create(subject.id)
    async with watch(api, subject) as counter_events, watch(api, gauge) as gauge_events:
        assert [(await news(each))["version"] for each in (counter_events, gauge_events)] == [0, 0]
        counter_news = asyncio.ensure_future(news(counter_events))
        # The check of the database finds it, because nothing announces it.
        await gauges.increment(subject.id, owner(1))
        assert (await asyncio.wait_for(news(gauge_events), 10))["version"] == 1
        api.app.bus.publish(gauge.channel)
        await asyncio.sleep(1.5 * bus.INTERVAL_WITH_REDIS)
        assert not counter_news.done(), "the counter's watcher was sent the gauge's change"
        gauge_news = asyncio.ensure_future(news(gauge_events))
        await write(api, subject)
        assert (await asyncio.wait_for(counter_news, 10))["version"] == 1
        await asyncio.sleep(1.5 * bus.INTERVAL_WITH_REDIS)
        assert not gauge_news.done(), "the gauge's watcher was sent the counter's change"
        gauge_news.cancel()


async def test_a_failing_store_does_not_stop_others(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = await fresh(api)
    gauge = Subject(subject.id, "gauges")
    await api.app.store(GaugeStore).create(subject.id)

    async def fail(ids: object) -> None:
        raise RuntimeError("as the test asked")

    async with watch(api, gauge) as gauge_events, watch(api, subject) as events:
        await news(gauge_events)
        await news(events)
        monkeypatch.setattr(api.app.store(GaugeStore), "versions", fail)
        await write_elsewhere(api, subject)
        assert (await asyncio.wait_for(news(events), 10))["version"] == 1


async def test_versions_only_grow_and_the_last_is_seen(api: Served) -> None:
    subject = await fresh(api)
    async with watch(api, subject) as events, socket_of(api, subject) as connection:
        writing = asyncio.gather(*(write(api, subject) for n in range(50)))
        for next_one in (partial(news, events), partial(message, connection)):
            seen = [await next_one()]
            while seen[-1]["version"] < 50:
                seen.append(await next_one())
            versions = [each["version"] for each in seen]
            assert versions == sorted(set(versions))
            # Each state is consistent: its total is the number of writes up to its version.
            assert [each["total"] for each in seen] == versions
        await writing


async def test_many_watchers_are_one_read_and_one_encoding(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, encodings = Counter[str](), Counter[str]()
    read, encode = api.app.store(CounterStore).state, live.encode

    async def counted_read(id: int) -> Any:
        reads["all"] += 1
        return await read(id)

    def counted_encode(value: Any) -> bytes:
        encodings["all"] += 1
        return encode(value)

    monkeypatch.setattr(api.app.store(CounterStore), "state", counted_read)
    monkeypatch.setattr(live, "encode", counted_encode)
    subject = await fresh(api)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(watch(api, subject)) for _ in range(25)]
        sockets = [await stack.enter_async_context(socket_of(api, subject)) for _ in range(25)]

        async def everybody() -> list[int]:
            answers = await asyncio.gather(*map(news, streams), *map(message, sockets))
            return [answer["version"] for answer in answers]

        assert await everybody() == [0] * 50
        reads.clear()
        encodings.clear()
        await write(api, subject)
        assert await everybody() == [1] * 50
        assert encodings.total() == 1
        assert reads.total() <= 2, "the check for changes may have found it too"


async def test_at_most_ten_updates_a_second(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = await fresh(api)
    started = time.monotonic()

    async def another_each_millisecond(key: int) -> Heavy:
        return Heavy(int(1000 * (time.monotonic() - started)))

    monkeypatch.setattr(api.app.store(CounterStore), "state", another_each_millisecond)
    async with watch(api, subject) as events:
        first = await news(events)

        async def changes() -> None:
            while time.monotonic() < started + 1.5:
                api.app.hub.mark_stale(subject.channel)
                await asyncio.sleep(0.001)

        changing = asyncio.ensure_future(changes())
        updates = 0
        while not changing.done():
            last = await news(events)
            updates += 1
        assert last["version"] > first["version"] + 2 * updates, "nothing was skipped"
        assert updates <= 10 * (time.monotonic() - started) + 1


@pytest.fixture
def heavy(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    state = api.app.store(CounterStore).state

    async def heavy_state(key: int) -> Heavy:
        return Heavy((await state(key)).version)

    monkeypatch.setattr(api.app.store(CounterStore), "state", heavy_state)


@pytest.mark.usefixtures("heavy")
async def test_a_slow_watcher_gets_the_newest_state(api: Served) -> None:
    """While the client reads nothing, the state changes ten times. The client gets the first states and the last."""
    subject = await fresh(api)
    reader, writer = await raw(api, subject.events)
    await until(lambda: api.app.hub.watchers)
    channel = api.app.hub.channels[subject.channel]
    for number in range(1, 11):
        await write_elsewhere(api, subject)
        api.app.bus.publish(subject.channel)
        await until(lambda number=number: channel.version == number)  # type: ignore[misc]
        [watcher] = channel.watchers
        assert len(watcher.stream._write_buffer) <= len(channel.json) + 1000  # type: ignore[attr-defined]
    received = b""
    while b"\nid: 10\n" not in received:
        received += await asyncio.wait_for(reader.read(2**20), 10)
    assert received.count(b"\nid: ") <= 4
    writer.close()


async def test_an_open_stream_keeps_no_request(api: Served) -> None:
    subject = await fresh(api)
    async with watch(api, subject) as events:
        await news(events)
        await until(lambda: not api.server._connections)
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, watching.EventStreamHandler)]
        assert api.app.hub.watchers == 1


async def test_a_drain_just_after_a_client_left(api: Served) -> None:
    subject = await fresh(api)
    async with watch(api, subject) as leaving, watch(api, subject) as staying:
        await news(leaving)
        await news(staying)
        next(iter(api.app.hub.channels[subject.channel].watchers)).stream.close()  # type: ignore[attr-defined]
        api.app.hub.drain()
        await until(lambda: not api.app.hub.watchers)


HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {'x' * 22}==",
)


@pytest.mark.usefixtures("heavy")
@pytest.mark.parametrize("kind", ["events", "socket"])
async def test_watcher_that_takes_nothing_is_dropped(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    monkeypatch.setattr(watching, "STALL", 0.3)
    subject = await fresh(api)
    _, writer = await raw(api, getattr(subject, kind), *(HANDSHAKE if kind == "socket" else ()))
    await until(lambda: api.app.hub.watchers)
    await write_elsewhere(api, subject)
    await until(lambda: not api.app.hub.watchers)
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_deleted_object_ends_its_watchers(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = await fresh(api)

    async def gone(key: int) -> None:
        raise live.Gone

    async with watch(api, subject) as events, socket_of(api, subject) as connection:
        await news(events)
        await message(connection)
        monkeypatch.setattr(api.app.store(CounterStore), "state", gone)
        api.app.hub.mark_stale(subject.channel)
        async for block in events:
            assert "data" not in block
        await connection.wait_closed()
        assert connection.close_code == 1000
    problem(await api.client.get(subject.events), 404)


async def test_drain(api: Served) -> None:
    subject = await fresh(api)
    waiting = asyncio.ensure_future(api.client.get(subject.long_poll, params={"after": 0}))
    async with watch(api, subject) as events, socket_of(api, subject) as connection:
        await news(events)
        await message(connection)
        await until(lambda: api.app.hub.watchers == 3)
        api.app.hub.drain()
        assert [set(block) async for block in events] == [{"retry"}]
        await connection.wait_closed()
        assert connection.close_code == 1012
    assert (await waiting).status_code == 204
    # A client that still connects gets the newest state and is disconnected.
    async with watch(api, subject) as events:
        assert (await news(events))["version"] == 0
        assert [set(block) async for block in events] == [{"retry"}]


async def test_too_many_watchers(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "MAX_WATCHERS", 2)
    subject = await fresh(api)
    async with watch(api, subject), socket_of(api, subject):
        await until(lambda: api.app.hub.watchers == 2)
        for path in (subject.events, subject.long_poll, subject.socket):
            response = await api.client.get(path)
            problem(response, 503)
            assert int(response.headers["Retry-After"]) > 0
        assert (await api.client.get(subject.newest)).status_code == 200
    assert caplog.text.count("as many as MAX_WATCHERS allows") == 1
    await until(lambda: api.app.hub.watchers == 0)
    assert (await api.client.get(subject.long_poll)).status_code == 200


async def test_request_that_takes_too_long(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def state_that_is_stuck(key: int) -> None:
        await asyncio.sleep(60)

    subject = await fresh(api)
    monkeypatch.setattr(reads, "READ_DEADLINE", 0.2)
    monkeypatch.setattr(api.app.store(CounterStore), "state", state_that_is_stuck)
    response: httpx.Response = await api.client.get(subject.newest)
    problem(response, 503)
    assert response.headers["Retry-After"]
    assert "in state_that_is_stuck" in caplog.text
