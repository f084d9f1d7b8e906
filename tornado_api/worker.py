"""gunicorn's worker for Tornado applications, with a socket of its own and graceful shutdown.

gunicorn 27's own tornado worker (gunicorn/workers/gtornado.py) exits a second or two after TERM whatever connections it
has, passes no options to HTTPServer, and counts connections for max_requests.
"""

import asyncio
import faulthandler
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gtornado import TornadoWorker
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket

from . import metrics
from .limits import MAX_BODY, MAX_MEMORY, MAX_WATCHERS
from .live import Watcher

if TYPE_CHECKING:
    from .application import Application

BACKLOG = 2048
# The path of a unix socket, or host and port.
Address = Path | tuple[str, int]

WATCHERS = metrics.gauge("live_watchers", "Clients with a live connection")
CHANNELS = metrics.gauge("live_channels", "Objects that clients watch")
STATES = metrics.counter("live_states", "States that were sent to watchers")
LAG = metrics.histogram("event_loop_lag_seconds", "Once a second: how late the event loop is")


def assign_slot(arbiter: Arbiter, worker: "Worker") -> None:
    """For gunicorn's pre_fork hook: number the new worker, from 0.

    It gets the number that the fewest workers have. So it replaces a worker that died, or one of the old workers when
    a reload starts the new ones before it stops the old.
    """
    slots = [other.slot for other in arbiter.WORKERS.values()]
    worker.slot = min(range(arbiter.num_workers), key=slots.count)


def listen(address: Address) -> list[socket.socket]:
    """A worker's own sockets."""
    if not isinstance(address, Path):
        host, port = address
        return bind_sockets(port, host, backlog=BACKLOG, reuse_port=True)
    # Renamed into place, so that the path always has a socket when it replaces that of a dead or draining worker.
    fresh = address.with_name(f"{address.name}.{os.getpid()}")
    sockets = [bind_unix_socket(str(fresh), backlog=BACKLOG)]
    fresh.rename(address)
    return sockets


class Worker(TornadoWorker):  # type: ignore[misc]
    # gunicorn's configuration sets these two before it forks.
    slot: int
    address: Address
    alive: bool
    wsgi: "Application"

    @classmethod
    def setup(cls) -> None:
        """Do nothing. The original patches Tornado to add gunicorn's version to a header."""

    def run(self) -> None:
        # gunicorn's watchdog kills a worker whose loop is blocked, with SIGABRT. This logs where it was blocked.
        faulthandler.enable()
        # Debian's soft limit is 1024 files.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * MAX_WATCHERS), most))
        # Not booted until it listens: gunicorn stops if a worker fails before that, and otherwise replaces it for ever.
        self.booted = False
        asyncio.run(self.serve())

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self.begin_to_stop, number, stop)
        self.grace = self.cfg.graceful_timeout - 2
        app = self.wsgi
        app.slot = self.slot
        await app.start()
        server = HTTPServer(
            app,
            xheaders=True,  # only nginx reaches this socket
            # Above MAX_BODY the handlers answer 413. Above this, Tornado answers 400 without a body.
            max_body_size=16 * MAX_BODY,
            body_timeout=10,
            idle_connection_timeout=self.cfg.keepalive,
        )
        sockets = listen(self.address)
        path = self.address if isinstance(self.address, Path) else None
        inode = path.stat().st_ino if path else 0
        server.add_sockets(sockets)
        self.booted = True

        process = psutil.Process()
        while self.alive:
            self.watchdog()  # shows the master that the loop runs, and stops the worker when the master is gone
            memory = process.memory_info().rss / 1e6
            if app.requests >= self.max_requests or memory >= MAX_MEMORY:
                self.log.warning("%d requests served, %d MB: a new worker replaces this one", app.requests, memory)
                self.alive = False
            due = loop.time() + 1
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await stop.wait()
            metrics.mine(LAG).observe(max(0, loop.time() - due))
            self.show_watchers()

        # Remove the address first, unless it is another worker's by now. nginx then fails to connect, has sent nothing,
        # and tries the next worker.
        with suppress(FileNotFoundError):
            if path and path.stat().st_ino == inode:
                path.unlink()
        await self.drain(server, sockets)
        self.show_watchers()
        await app.stop()

    def show_watchers(self) -> None:
        metrics.show_worker()
        hub = self.wsgi.hub
        metrics.mine(WATCHERS).set(hub.watchers)
        metrics.mine(CHANNELS).set(len(hub.channels))
        metrics.mine(STATES).inc(Watcher.states)
        Watcher.states = 0

    async def drain(self, server: HTTPServer, sockets: list[socket.socket]) -> None:
        """Finish what clients have begun, for `self.grace` seconds at most."""
        loop, hub = asyncio.get_running_loop(), self.wsgi.hub
        deadline = loop.time() + self.grace
        await asyncio.sleep(0.1)
        # Accept the connections in the backlog: closing the sockets would reset them.
        queue = select.poll()
        for each in sockets:
            queue.register(each, select.POLLIN)
        while queue.poll(0) and loop.time() < deadline:  # noqa: ASYNC110 (Tornado accepts, and has no event for it)
            await asyncio.sleep(0)
        server.stop()
        server.conn_params.no_keep_alive = True
        hub.drain()
        while (server._connections or hub.watchers) and loop.time() < deadline:
            self.notify()
            await asyncio.sleep(0.1)
        self.log.info("drained: %d connections and %d watchers left", len(server._connections), hub.watchers)

    def begin_to_stop(self, number: signal.Signals, stop: asyncio.Event) -> None:
        """Handle gunicorn's signals: TERM drains, INT and QUIT stop at once."""
        self.alive = False
        if number != signal.SIGTERM:
            self.grace = 0
        stop.set()
