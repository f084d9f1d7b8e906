"""The three ways to watch a live channel: server-sent events, a WebSocket, and long-polling."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import suppress

from tornado.ioloop import PeriodicCallback
from tornado.iostream import StreamClosedError

from .application import Route
from .handler import Handler
from .limits import HEARTBEAT, STALL
from .live import Watcher
from .schemas import LongPollQuery
from .websocket import RESTARTING, SocketHandler

DELETED = (1000, "it was deleted")


def retry() -> bytes:
    """Return the milliseconds until a browser reconnects: random, so that not all clients reconnect at once."""
    return b"retry: %d\n\n" % random.randint(500, 5000)  # noqa: S311


class WatchHandler(Handler):
    """A watcher of the channel that `name` makes from the groups of the route's pattern."""

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize()
        self.name = name
        self.watcher = Watcher(self.changed)

    def changed(self) -> None:
        raise NotImplementedError

    def on_connection_close(self) -> None:
        self.watcher.leave()
        super().on_connection_close()


class LongPollHandler(WatchHandler):
    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize(name)
        self.wake = asyncio.Event()

    def changed(self) -> None:
        self.wake.set()

    async def get(self, *path: str) -> None:
        query = self.query(LongPollQuery)
        self.watcher.seen = query.after
        async with self.application.hub.watch(self.name(*path), self.watcher) as channel:
            with suppress(TimeoutError):
                async with asyncio.timeout(query.wait):
                    while self.watcher.watching and self.watcher.seen == channel.version:
                        self.wake.clear()
                        await self.wake.wait()
            if self.watcher.news():
                self.finish(channel.json)
            else:
                self.set_status(204)


class PushHandler(WatchHandler):
    """Writes each new state to its connection at once: a task for each watcher would take more than twice the time.

    While the client has not taken what was written before, the newest state replaces those that it skips.
    """

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize(name)
        # Pending while the client has not taken what was written, and until there is something to write to.
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def push(self) -> "asyncio.Future[None]":
        """Write the channel's newest state. Raises StreamClosedError."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close the connection of a client that takes nothing."""
        raise NotImplementedError

    def end(self) -> None:
        """End the response: the client left, or there is nothing to watch any more. Called more than once."""
        raise NotImplementedError

    def changed(self) -> None:
        while self.watcher.here:
            if not self.written.done():
                return
            if self.watcher.news():
                try:
                    self.sent(self.push())
                except StreamClosedError:
                    self.watcher.here = False
            elif self.watcher.watching:
                return
            else:
                break
        self.end()

    def sent(self, written: "asyncio.Future[None]") -> None:
        """Go on when the client has taken what was written, within STALL seconds."""
        self.written = written
        if not written.done():
            late = asyncio.get_running_loop().call_later(STALL, self.drop)
            written.add_done_callback(lambda _: late.cancel())
            written.add_done_callback(lambda _: self.changed())


class EventStreamHandler(PushHandler):
    deadline = None

    async def get(self, *path: str) -> None:
        last = self.request.headers.get("Last-Event-ID", "")
        self.watcher.seen = int(last) if re.fullmatch("[0-9]{1,18}", last) else -1
        self.ended = asyncio.Event()
        async with self.application.hub.watch(self.name(*path), self.watcher):
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("X-Accel-Buffering", "no")
            self.write(retry())
            self.sent(self.flush())
            self.changed()
            heartbeats = PeriodicCallback(self.beat, 1000 * HEARTBEAT)
            heartbeats.start()
            try:
                await self.ended.wait()
            finally:
                heartbeats.stop()
            if self.watcher.here:
                self.write(retry())

    def push(self) -> "asyncio.Future[None]":
        return self.send(self.watcher.channel.event)

    def send(self, data: bytes) -> "asyncio.Future[None]":
        if self.request.connection is None:
            raise StreamClosedError
        return self.request.connection.write(data)

    def beat(self) -> None:
        if self.written.done():
            self.sent(self.send(b":\n\n"))

    def drop(self) -> None:
        self.detach().close()
        self.watcher.leave()

    def end(self) -> None:
        self.ended.set()


class WebSocketHandler(PushHandler, SocketHandler):
    # A watcher sends nothing.
    max_message_size = 1024

    async def get(self, *path: str) -> None:
        async with self.application.hub.watch(self.name(*path), self.watcher):
            await self.upgrade()

    def open(self) -> None:
        self.written.set_result(None)
        self.changed()

    def push(self) -> "asyncio.Future[None]":
        if not (self.ws_connection and self.ws_connection.stream):
            raise StreamClosedError
        return self.ws_connection.stream.write(self.watcher.channel.message)

    def drop(self) -> None:
        self.close(1008, "too slow")

    def end(self) -> None:
        if self.watcher.here:
            self.close(*(RESTARTING if self.application.hub.draining else DELETED))

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
