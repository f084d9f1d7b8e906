"""The three ways to watch a live channel: server-sent events, a WebSocket, and long-polling."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import suppress

from tornado.iostream import IOStream, StreamClosedError

from .application import Route
from .handler import Handler
from .limits import HEARTBEAT, STALL
from .live import Hub, Watcher, chunk
from .schemas import LongPollQuery
from .websocket import RESTARTING, SocketHandler

DELETED = (1000, "it was deleted")
# A comment, which clients ignore.
BEAT = chunk(b":\n\n")


def retry() -> bytes:
    """Return the milliseconds until a browser reconnects: random, so that not all clients reconnect at once."""
    return b"retry: %d\n\n" % random.randint(500, 5000)  # noqa: S311


class WatchHandler(Handler):
    """Watches the channel that `name` makes from the groups of the route's pattern."""

    watcher: Watcher

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize()
        self.name = name

    def on_connection_close(self) -> None:
        self.watcher.leave()
        super().on_connection_close()


class Poller(Watcher):
    def __init__(self) -> None:
        super().__init__()
        self.wake = asyncio.Event()

    def changed(self) -> None:
        self.wake.set()


class LongPollHandler(WatchHandler):
    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize(name)
        self.watcher: Poller = Poller()

    async def get(self, *path: str) -> None:
        query, watcher = self.query(LongPollQuery), self.watcher
        watcher.seen = query.after
        async with self.application.hub.watch(self.name(*path), watcher) as channel:
            with suppress(TimeoutError):
                async with asyncio.timeout(query.wait):
                    while watcher.watching and watcher.seen == channel.version:
                        watcher.wake.clear()
                        await watcher.wake.wait()
            if watcher.news():
                self.finish(channel.json)
            else:
                self.set_status(204)


class Pusher(Watcher):
    """Writes each new state to its connection at once: a task for each watcher would take more than twice the time.

    While the client has not taken what was written before, the newest state replaces those that it skips.
    """

    def __init__(self) -> None:
        super().__init__()
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

    def start(self) -> None:
        self.written.set_result(None)
        self.changed()

    def changed(self) -> None:
        while self.here:
            if not self.written.done():
                return
            if self.news():
                try:
                    self.sent(self.push())
                except StreamClosedError:
                    self.here = False
            elif self.watching:
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


class EventStream(Pusher):
    """An event stream. It keeps nothing else of its request, because Tornado's objects take three times its memory."""

    stream: IOStream
    heartbeat: asyncio.TimerHandle | None = None

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.hub = hub

    def open(self, stream: IOStream) -> None:
        """Take over a connection to which the response's headers were written."""
        self.stream = stream
        if stream.closed():
            self.closed()
            return
        stream.set_close_callback(self.closed)
        self.heartbeat = asyncio.get_running_loop().call_later(HEARTBEAT, self.beat)
        self.start()

    def push(self) -> "asyncio.Future[None]":
        return self.stream.write(self.channel.event)

    def beat(self) -> None:
        self.heartbeat = asyncio.get_running_loop().call_later(HEARTBEAT, self.beat)
        if self.written.done():
            with suppress(StreamClosedError):
                self.sent(self.stream.write(BEAT))

    def drop(self) -> None:
        self.stream.close()

    def end(self) -> None:
        if self.here and self.heartbeat:
            self.heartbeat.cancel()
            self.heartbeat = None
            with suppress(StreamClosedError):
                self.sent(self.stream.write(chunk(retry()) + chunk(b"")))
        if self.written.done():
            self.stream.close()

    def closed(self) -> None:
        self.here = False
        if self.heartbeat:
            self.heartbeat.cancel()
        self.hub.part(self)


class EventStreamHandler(WatchHandler):
    deadline = None

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize(name)
        self.watcher: EventStream = EventStream(self.application.hub)

    async def get(self, *path: str) -> None:
        last, stream = self.request.headers.get("Last-Event-ID", ""), self.watcher
        stream.seen = int(last) if re.fullmatch("[0-9]{1,18}", last) else -1
        await stream.hub.join(self.name(*path), stream)
        if not stream.here:
            stream.closed()
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Connection", "close")
        self.write(retry())
        self.flush()
        stream.open(self.detach())
        self.application.log_request(self)
        self.on_finish()


class SocketPusher(Pusher):
    def __init__(self, handler: "WebSocketHandler") -> None:
        super().__init__()
        self.handler = handler

    def push(self) -> "asyncio.Future[None]":
        connection = self.handler.ws_connection
        if not (connection and connection.stream):
            raise StreamClosedError
        return connection.stream.write(self.channel.message)

    def drop(self) -> None:
        self.handler.close(1008, "too slow")

    def end(self) -> None:
        if self.here:
            self.handler.close(*(RESTARTING if self.handler.application.hub.draining else DELETED))


class WebSocketHandler(WatchHandler, SocketHandler):
    # A watcher sends nothing.
    max_message_size = 1024

    def initialize(self, name: Callable[..., str]) -> None:  # type: ignore[override]
        super().initialize(name)
        self.watcher: SocketPusher = SocketPusher(self)

    async def get(self, *path: str) -> None:
        async with self.application.hub.watch(self.name(*path), self.watcher):
            await self.upgrade()

    def open(self) -> None:
        self.watcher.start()

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
