"""Live channels: each holds the newest state of one object, read and encoded once for all its watchers in this process.

A channel's name is the name of a store and an id: "rooms:7". Two stores may use the same ids.
"""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import msgspec

from . import traces
from .database import Unavailable
from .limits import MAX_WATCHERS

logger = logging.getLogger(__name__)

# Seconds between two updates of a channel: people do not see more than ten a second.
PACE = 0.1
# Seconds before a channel repeats a read that failed.
RETRY = 1.0
# How many watchers get a new state, in about 6 ms, before other requests have their turn.
BATCH = 200

encode = msgspec.json.Encoder().encode


def text_frame(text: bytes) -> bytes:
    """Return a text message of a server as WebSocket's bytes on the wire (RFC 6455, 5.2)."""
    size = len(text)
    if size < 126:
        return b"\x81" + struct.pack("!B", size) + text
    return b"\x81" + (struct.pack("!BH", 126, size) if size < 2**16 else struct.pack("!BQ", 127, size)) + text


def chunk(data: bytes) -> bytes:
    """Return a part of a response without a Content-Length as its bytes on the wire (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Gone(Exception):
    """The watched object does not exist, or was deleted."""


class TooManyWatchers(Exception):
    pass


class State(Protocol):
    """Something that msgspec can encode, with a version that only grows. The newest state replaces all before it."""

    version: int


class Store(Protocol):
    """Reads the states of one kind of thing. `name` is the first part of its channels' names."""

    name: str

    async def state(self, id: int, /) -> State:
        """Return the newest state. Raises Gone, Unavailable."""

    async def versions(self, ids: Iterable[int], /) -> dict[int, int]:
        """Return the newest version of each id that exists. Raises Unavailable."""


class Channel:
    """The newest state of one object: its version, and its JSON, which all watchers share."""

    follower: asyncio.Task[None]

    def __init__(self, name: str, store: Store, id: int) -> None:
        self.name = name
        self.store = store
        self.id = id
        self.version = -1
        self.json = self.event = self.message = b""
        self.open = True
        self.watchers: set[Watcher] = set()
        self.stale = asyncio.Event()
        # The traceparent of the last change that was announced.
        self.trace = ""
        # The current read, or the next one. Its result is the exception that it raised.
        self.read: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def set(self, state: State) -> None:
        """Encode a state once for all watchers: as JSON, as a server-sent event, and as a WebSocket's frame."""
        self.version = state.version
        self.json = encode(state)
        self.event = chunk(b"id: %d\ndata: %s\n\n" % (self.version, self.json))
        self.message = text_frame(self.json)

    def close(self) -> None:
        self.open = False
        for watcher in self.watchers:
            watcher.changed()


class Watcher:
    """A client that watches a channel. `seen` is the version that it has (-1: none)."""

    channel: Channel
    # The states that all watchers of this process got.
    states = 0

    def __init__(self) -> None:
        self.seen = -1
        self.here = True

    def changed(self) -> None:
        """Called when the channel has another state, when it closes, and when the client leaves."""
        raise NotImplementedError

    @property
    def watching(self) -> bool:
        """False once the client disconnected, the object was deleted, or the process drains."""
        return self.here and self.channel.open

    def leave(self) -> None:
        self.here = False
        self.changed()

    def news(self) -> bool:
        """Return whether the client lacks the newest state, which then counts as seen. It skips those in between."""
        if not self.here or self.seen == self.channel.version:
            return False
        self.seen = self.channel.version
        Watcher.states += 1
        return True


class Hub:
    """The channels and the long connections of this process; `stores` are by name."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self.stores = stores
        self.channels: dict[str, Channel] = {}
        # Clients with a long connection, those of two-way WebSockets included.
        self.watchers = 0
        self.is_full = False
        self.draining = False
        self.closers: set[Callable[[], None]] = set()

    def mark_stale(self, name: str, trace: str = "") -> None:
        """Read a channel again if a client watches it, because its state may have changed. `trace` is a traceparent."""
        if channel := self.channels.get(name):
            channel.trace = trace
            channel.stale.set()

    async def check_for_changes(self) -> None:
        """Find the watched channels that changed, with one query for each store. Raises Unavailable.

        The checks run concurrently, so that a failing store does not stop the others.
        """
        watched: dict[Store, list[Channel]] = {}
        for channel in self.channels.values():
            watched.setdefault(channel.store, []).append(channel)
        await asyncio.gather(*(self.check(store, channels) for store, channels in watched.items()))

    async def check(self, store: Store, channels: list[Channel]) -> None:
        versions = await store.versions([channel.id for channel in channels])
        for channel in channels:
            if versions.get(channel.id) != channel.version:
                channel.stale.set()

    def drain(self) -> None:
        """End all watchers, now and from now on, each with the newest state, and close two-way connections."""
        self.draining = True
        for channel in self.channels.values():
            channel.close()
        for close in list(self.closers):
            close()

    def count(self) -> None:
        """Count one more. Raises TooManyWatchers."""
        if self.watchers >= MAX_WATCHERS:
            # Once, and not for each client that is rejected.
            if not self.is_full:
                logger.warning("%s watchers, as many as MAX_WATCHERS allows: more get a 503", self.watchers)
            self.is_full = True
            raise TooManyWatchers
        self.is_full = False
        self.watchers += 1

    @contextmanager
    def hold(self, close: Callable[[], None]) -> Iterator[None]:
        """Count a connection that watches no channel, and call `close` when the process drains.

        Raises TooManyWatchers.
        """
        self.count()
        self.closers.add(close)
        try:
            yield
        finally:
            self.closers.discard(close)
            self.watchers -= 1

    @asynccontextmanager
    async def watch(self, name: str, watcher: Watcher) -> AsyncIterator[Channel]:
        """Watch a channel during the block. Raises what `join` raises."""
        await self.join(name, watcher)
        try:
            yield watcher.channel
        finally:
            self.part(watcher)

    async def join(self, name: str, watcher: Watcher) -> None:
        """Watch a channel by its name, "rooms:7", until `part`. Raises Gone, TooManyWatchers, Unavailable."""
        self.count()
        channel = watcher.channel = self.channels.get(name) or self.open(name)
        channel.watchers.add(watcher)
        try:
            # A client may have a version that this process has not read yet. Try twice, because the first read may
            # have begun before that version was written. If the channel is still behind, the version comes from
            # another database.
            for _ in range(2):
                if channel.version >= max(watcher.seen, 0):
                    break
                channel.stale.set()
                if fault := await asyncio.shield(channel.read):
                    raise fault
        except BaseException:
            self.part(watcher)
            raise

    def part(self, watcher: Watcher) -> None:
        self.watchers -= 1
        channel = watcher.channel
        channel.watchers.discard(watcher)
        if not channel.watchers:
            channel.follower.cancel()
            self.forget(channel)

    def open(self, name: str) -> Channel:
        store, _, id = name.partition(":")
        channel = self.channels[name] = Channel(name, self.stores[store], int(id))
        channel.open = not self.draining
        channel.follower = asyncio.create_task(self.follow(channel))
        return channel

    def forget(self, channel: Channel) -> None:
        if self.channels.get(channel.name) is channel:
            del self.channels[channel.name]

    async def tell(self, channel: Channel) -> None:
        """Tell all watchers of a new state. Other requests have their turns in between."""
        for number, watcher in enumerate(list(channel.watchers), start=1):
            watcher.changed()
            if number % BATCH == 0:
                await asyncio.sleep(0)

    async def refresh(self, channel: Channel) -> Exception | None:
        """Read a channel's state, and tell its watchers of a new one. Return the exception that the read raised."""
        try:
            state = await channel.store.state(channel.id)
        except (Gone, Unavailable) as error:
            return error
        except Exception as error:
            # Any exception: those that wait for this read get it, and the next read may succeed.
            logger.exception("reading the state of %s", channel.name)
            return error
        if state.version != channel.version:
            channel.set(state)
            with traces.span("INTERNAL", "push", {"watchers": len(channel.watchers)}):
                await self.tell(channel)
        return None

    async def follow(self, channel: Channel) -> None:
        """Read a channel's state when it is stale, at a pace, until nobody watches it or it is deleted."""
        while True:
            await channel.stale.wait()
            channel.stale.clear()
            trace, channel.trace = channel.trace, ""
            with traces.resume(trace), traces.span("CONSUMER", f"live {channel.store.name}"):
                fault = await self.refresh(channel)
            read, channel.read = channel.read, asyncio.get_running_loop().create_future()
            read.set_result(fault)
            if isinstance(fault, Gone):
                self.forget(channel)
                channel.close()
                return
            if fault:
                channel.stale.set()
            await asyncio.sleep(RETRY if fault else PACE)
