"""The three ways to watch a live channel: server-sent events, a WebSocket, and long-polling."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import suppress

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from .application import Route
from .handler import Handler
from .limits import HEARTBEAT, STALL
from .live import Channel, Watcher
from .schemas import LongPollQuery
from .websocket import RESTARTING, SocketHandler


def retry() -> bytes:
    """Return the milliseconds until a browser reconnects: random, so that not all clients reconnect at once."""
    return b"retry: %d\n\n" % random.randint(500, 5000)  # noqa: S311


class WatchHandler(Handler):
    """A watcher of the channel that `name` makes from the groups of the route's pattern."""

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize()
        self.name = name
        self.watcher = Watcher()

    def on_connection_close(self) -> None:
        self.watcher.leave()
        super().on_connection_close()


class LongPollHandler(WatchHandler):
    async def get(self, *path: str) -> None:
        query = self.query(LongPollQuery)
        self.watcher.seen = query.after
        async with self.application.hub.watch(self.name(*path), self.watcher) as channel:
            if await self.watcher.news(query.wait):
                self.finish(channel.json)
            else:
                self.set_status(204)


class EventStreamHandler(WatchHandler):
    deadline = None

    async def get(self, *path: str) -> None:
        last = self.request.headers.get("Last-Event-ID", "")
        self.watcher.seen = int(last) if re.fullmatch("[0-9]{1,18}", last) else -1
        async with self.application.hub.watch(self.name(*path), self.watcher) as channel:
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("X-Accel-Buffering", "no")
            await self.send(retry())
            async for news in self.watcher.updates(HEARTBEAT):
                await self.send(b"id: %d\ndata: %s\n\n" % (channel.version, channel.json) if news else b":\n\n")
            if self.watcher.here:
                self.write(retry())

    async def send(self, data: bytes) -> None:
        """Return when the client has read everything. Changes in between become one newer state, not a queue."""
        self.write(data)
        try:
            async with asyncio.timeout(STALL):
                await self.flush()
        except StreamClosedError:
            self.watcher.leave()
        except TimeoutError:
            self.watcher.leave()
            self.detach().close()


class WebSocketHandler(WatchHandler, SocketHandler):
    # A watcher sends nothing.
    max_message_size = 1024

    async def get(self, *path: str) -> None:
        async with self.application.hub.watch(self.name(*path), self.watcher) as channel:
            await self.upgrade(channel)

    def open(self, channel: Channel) -> None:
        self.sender = asyncio.create_task(self.send(channel))

    async def send(self, channel: Channel) -> None:
        with suppress(WebSocketClosedError):
            async for _ in self.watcher.updates():
                # Not asyncio.timeout, which would cancel the write: Tornado fails when that happens.
                late = asyncio.get_running_loop().call_later(STALL, self.close, 1008, "too slow")
                try:
                    await self.write_message(channel.json)
                finally:
                    late.cancel()
        if self.application.hub.draining:
            self.close(*RESTARTING)
        else:
            self.close(1000, "it was deleted")

    def on_message(self, message: str | bytes) -> None:
        self.close(1003, "nothing is expected here")

    def on_close(self) -> None:
        self.watcher.leave()


def watch_routes(address: str, name: Callable[..., str]) -> list[Route]:
    """Return the routes of the three ways to watch. `name` makes the channel's name from the groups of `address`."""
    ways: dict[str, type[WatchHandler]] = {
        "events": EventStreamHandler,
        "socket": WebSocketHandler,
        "poll": LongPollHandler,
    }
    return [(f"{address}/{way}", handler, {"name": name}) for way, handler in ways.items()]
