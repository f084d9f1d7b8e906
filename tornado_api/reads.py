"""Reads that requests share."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable

import msgspec

from . import traces
from .database import Unavailable
from .limits import READ_DEADLINE
from .live import encode

logger = logging.getLogger(__name__)

Read = Callable[..., Awaitable[object]]


class Encoded(msgspec.Struct):
    """The JSON of what a read returned, and its version if it has one."""

    version: int
    json: bytes


class Reads:
    """Requests that arrive during a read share the next one, which is encoded once.

    So a read begins after all its requests have arrived, and the same read runs once at a time in a process.
    """

    def __init__(self) -> None:
        # The requests that wait for each read, while it or the previous one runs, each with its traceparent.
        self.waiting: dict[tuple[Read, tuple[Hashable, ...]], list[tuple[asyncio.Future[Encoded], str]]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def share(self, read: Read, *arguments: Hashable) -> asyncio.Future[Encoded]:
        """Return what `read(*arguments)` returns. Raises what it raises."""
        request: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        key = (read, arguments)
        waiting = (request, traces.carry())
        if key in self.waiting:
            self.waiting[key].append(waiting)
        else:
            self.waiting[key] = [waiting]
            task = asyncio.create_task(self.run(*key))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return request

    async def run(self, read: Read, arguments: tuple[Hashable, ...]) -> None:
        while requests := self.waiting[read, arguments]:
            self.waiting[read, arguments] = []
            found: Encoded | Exception
            try:
                # In the trace of the first request.
                with traces.resume(requests[0][1]):
                    async with asyncio.timeout(READ_DEADLINE):
                        state = await read(*arguments)
                found = Encoded(getattr(state, "version", -1), encode(state))
            except TimeoutError:
                # The traceback ends where the read was stuck.
                logger.exception("a read took longer than %s s", READ_DEADLINE)
                found = Unavailable("the read took too long")
            except Exception as error:
                found = error
            for request, _ in requests:
                if not request.done():
                    request.set_exception(found) if isinstance(found, Exception) else request.set_result(found)
        del self.waiting[read, arguments]
