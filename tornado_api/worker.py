"""gunicorn's tornado worker, with what the stock one leaves out: it has a socket of its own, and it drains.

gunicorn 27's own (gunicorn/workers/gtornado.py) dies a second or two after TERM whatever it holds, passes nothing to
HTTPServer, and counts connections for max_requests.
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

from . import settings
from .limits import MAX_BODY, MAX_MEMORY, MAX_WATCHERS

if TYPE_CHECKING:
    from .app import Api

BACKLOG = 2048


def assign_slot(arbiter: Arbiter, worker: "Worker") -> None:
    """gunicorn's pre_fork hook: numbers the new worker's socket, from 0.

    The number that the fewest have, so that it takes over from a worker that died; and, when a reload forks all anew
    before it stops the old ones, from one of those.
    """
    slots = [other.slot for other in arbiter.WORKERS.values()]
    worker.slot = min(range(arbiter.num_workers), key=slots.count)


def listen(bind: str, instance: str, slot: int) -> tuple[list[socket.socket], Path | None]:
    """A worker's own sockets, and the path when it is a unix socket.

    `bind` is `unix:/path-{instance}-{slot}.sock`, or `host:port` with the port of a's slot 0; after it come b's slot 0,
    a's slot 1, b's slot 1, …
    """
    if not bind.startswith("unix:"):
        host, _, port = bind.rpartition(":")
        return bind_sockets(int(port) + 2 * slot + "ab".index(instance), host, backlog=BACKLOG, reuse_port=True), None
    path = Path(bind.removeprefix("unix:").format(instance=instance, slot=slot))
    # Renamed into place: it takes over from a dead or draining worker, and there is no moment without either.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    sockets = [bind_unix_socket(str(fresh), backlog=BACKLOG)]
    fresh.rename(path)
    return sockets, path


class Worker(TornadoWorker):  # type: ignore[misc]
    slot: int
    alive: bool
    wsgi: "Api"

    @classmethod
    def setup(cls) -> None:
        """Leaves out the stock worker's patch of Tornado, which adds gunicorn's version to a header."""

    def run(self) -> None:
        # gunicorn's watchdog ends a worker whose loop is blocked with SIGABRT: this logs where.
        faulthandler.enable()
        # Debian's soft limit is 1024 files.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * MAX_WATCHERS), most))
        # Until it listens it is booting: gunicorn gives up on a worker that fails in this, and would fork on otherwise.
        self.booted = False
        asyncio.run(self.serve())

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self.told_to_stop, number, stop)
        self.grace = self.cfg.graceful_timeout - 2
        app = self.wsgi
        app.slot = self.slot
        app.start()
        server = HTTPServer(
            app,
            xheaders=True,  # nobody but nginx gets to this socket
            # The handlers answer above MAX_BODY; Tornado's own answer above this is a bare 400.
            max_body_size=16 * MAX_BODY,
            body_timeout=10,
            idle_connection_timeout=self.cfg.keepalive,
        )
        sockets, path = listen(settings.API_BIND, settings.INSTANCE, self.slot)
        inode = path.stat().st_ino if path else 0
        server.add_sockets(sockets)
        self.booted = True

        process = psutil.Process()
        while self.alive:
            self.watchdog()  # tells the master that the loop turns; ends when the master is gone
            memory = process.memory_info().rss / 1e6
            if app.requests >= self.max_requests or memory >= MAX_MEMORY:
                self.log.warning("%d requests served, %d MB: making room for a new worker", app.requests, memory)
                self.alive = False
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await stop.wait()

        # First the address: nginx finds nobody, has sent nothing, and asks the next. Unless it is another's by now.
        with suppress(FileNotFoundError):
            if path and path.stat().st_ino == inode:
                path.unlink()
        deadline = loop.time() + self.grace
        await asyncio.sleep(0.1)
        # Closing the socket would reset who waits in its queue.
        queue = select.poll()
        for each in sockets:
            queue.register(each, select.POLLIN)
        while queue.poll(0) and loop.time() < deadline:  # noqa: ASYNC110 (Tornado accepts, tells nobody)
            await asyncio.sleep(0)
        server.stop()
        server.conn_params.no_keep_alive = True
        app.hub.drain()
        while (server._connections or app.hub.watchers) and loop.time() < deadline:
            self.notify()
            await asyncio.sleep(0.1)
        self.log.info("drained: %d connections and %d watchers left", len(server._connections), app.hub.watchers)
        await app.stop()

    def told_to_stop(self, number: signal.Signals, stop: asyncio.Event) -> None:
        """TERM drains. INT and QUIT are gunicorn's signals for at once."""
        self.alive = False
        if number != signal.SIGTERM:
            self.grace = 0
        stop.set()
