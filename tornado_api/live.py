"""State as it moves: a channel for each that is watched here, read and encoded once however many watch."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from .database import Unavailable
from .limits import MAX_WATCHERS

logger = logging.getLogger(__name__)

# Seconds between two updates of a channel: faster than ten times a second nobody sees.
PACE = 0.1
# Seconds until a channel tries again what the database refused.
RETRY = 1.0

encode = msgspec.json.Encoder().encode


class Gone(Exception):
    """What is watched is not there, or not any more."""


class TooManyWatchers(Exception):
    pass


class State(Protocol):
    """What msgspec can encode, with a version that only grows. A watcher gets the newest, which replaces all before."""

    version: int


class Store(Protocol):
    """What the states are read from, each by its key."""

    async def state(self, key: int, /) -> State:
        """Raises Gone, Unavailable."""

    async def versions(self, keys: Iterable[int], /) -> dict[int, int]:
        """Of those that are there. Raises Unavailable."""


class Channel:
    """The newest state of what has this key: its version, and its JSON as every watcher gets it."""

    follower: asyncio.Task[None]

    def __init__(self, key: int) -> None:
        self.key = key
        self.version = -1
        self.json = b""
        self.open = True
        self.watchers: set[Watcher] = set()
        self.stale = asyncio.Event()
        # The read that is under way or comes next; its result is what was wrong with it.
        self.read: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        for watcher in self.watchers:
            watcher.wake.set()

    def close(self) -> None:
        self.open = False
        self.wake()


class Watcher:
    """A client with a live connection; `seen` is the version that it has (-1: none)."""

    channel: Channel

    def __init__(self) -> None:
        self.seen = -1
        self.here = True
        self.wake = asyncio.Event()

    @property
    def watching(self) -> bool:
        """False once the client hung up, it was deleted, or the process drains."""
        return self.here and self.channel.open

    def leave(self) -> None:
        self.here = False
        self.wake.set()

    async def news(self, wait: float | None = None) -> bool:
        """Wait for a version other than the one seen; True when there is one, which counts as seen from then on.

        False after `wait` seconds, or at once when not watching. Versions that a slow watcher missed are gone: it
        gets the newest.
        """
        try:
            async with asyncio.timeout(wait):
                while self.watching and self.seen == self.channel.version:
                    self.wake.clear()
                    await self.wake.wait()
        except TimeoutError:
            return False
        if not self.here or self.seen == self.channel.version:
            return False
        self.seen = self.channel.version
        return True

    async def updates(self, heartbeat: float | None = None) -> AsyncIterator[bool]:
        """Whether there is news, whenever there is, and when for `heartbeat` seconds there was none; until an end."""
        while True:
            news = await self.news(heartbeat)
            if news or self.watching:
                yield news
            if not self.watching:
                return


class Hub:
    """The channels of this process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.channels: dict[int, Channel] = {}
        self.watchers = 0
        self.draining = False

    def stale(self, key: int) -> None:
        """The state is said to have changed."""
        if channel := self.channels.get(key):
            channel.stale.set()

    async def poll(self) -> None:
        """Find what changed of all that is watched, in one query. Raises Unavailable."""
        if self.channels:
            versions = await self.store.versions(self.channels)
            for key, channel in self.channels.items():
                if versions.get(key) != channel.version:
                    channel.stale.set()

    def drain(self) -> None:
        """Nobody watches any longer, of those here and those to come: they get the newest, and an end."""
        self.draining = True
        for channel in self.channels.values():
            channel.close()

    @asynccontextmanager
    async def watch(self, key: int, watcher: Watcher) -> AsyncIterator[Channel]:
        """Raises Gone, TooManyWatchers, Unavailable."""
        if self.watchers >= MAX_WATCHERS:
            raise TooManyWatchers
        channel = self.channels.get(key)
        if channel is None:
            channel = self.channels[key] = Channel(key)
            channel.open = not self.draining
            channel.follower = asyncio.create_task(self.follow(channel))
        watcher.channel = channel
        channel.watchers.add(watcher)
        self.watchers += 1
        try:
            # A client may know a version that this process has not heard of yet. Twice: the first read may have begun
            # before that version was written. If it is still behind, the client's number was another database's.
            for _ in range(2):
                if channel.version >= max(watcher.seen, 0):
                    break
                channel.stale.set()
                if fault := await asyncio.shield(channel.read):
                    raise fault
            yield channel
        finally:
            self.watchers -= 1
            channel.watchers.discard(watcher)
            if not channel.watchers:
                channel.follower.cancel()
                self.forget(channel)

    def forget(self, channel: Channel) -> None:
        if self.channels.get(channel.key) is channel:
            del self.channels[channel.key]

    async def follow(self, channel: Channel) -> None:
        """Read a channel's state when it is stale, at a pace; until nobody watches or it is deleted."""
        while True:
            await channel.stale.wait()
            channel.stale.clear()
            fault: Exception | None = None
            try:
                state = await self.store.state(channel.key)
            except (Gone, Unavailable) as error:
                fault = error
            except Exception as error:
                # Whatever it is: those who wait for this read are told, and the next may be better.
                logger.exception("reading the state of %d", channel.key)
                fault = error
            else:
                if state.version != channel.version:
                    channel.version, channel.json = state.version, encode(state)
                    channel.wake()
            read, channel.read = channel.read, asyncio.get_running_loop().create_future()
            read.set_result(fault)
            if isinstance(fault, Gone):
                self.forget(channel)
                channel.close()
                return
            if fault:
                channel.stale.set()
            await asyncio.sleep(RETRY if fault else PACE)
