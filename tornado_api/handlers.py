"""What endpoints are made of: requests, errors, watchers; and the endpoints of every api, its document and health."""

import asyncio
import logging
import os
import random
import re
import traceback
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from redis import RedisError
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from . import auth, openapi
from .database import NoUser, Unavailable, one_line
from .limits import HEARTBEAT, MAX_BODY, REQUEST_DEADLINE, STALL
from .live import Channel, Gone, State, TooManyWatchers, Watcher
from .log import request_id
from .problem import ProblemError, invalid, unavailable
from .schemas import Key, PollQuery

if TYPE_CHECKING:
    from .app import Api

logger = logging.getLogger(__name__)
T = TypeVar("T")
# An address, who answers there, and what its initialize() takes.
Route = tuple[str, type[RequestHandler]] | tuple[str, type[RequestHandler], dict[str, Any]]

# Seconds for each check of readiness; a database that hangs takes one more (Database.connect).
HEALTH_LIMIT = 1

PROBLEMS: dict[type[BaseException], ProblemError] = {
    NoUser: auth.refuse("The token's user is not there any more.", ' error="invalid_token"'),
    Unavailable: unavailable("The database does not answer. Please try again."),
    Gone: ProblemError(404, "There is nothing to watch at this address."),
    TooManyWatchers: unavailable("Too many are watching here. Please try again."),
}


def retry() -> bytes:
    """After how many milliseconds a browser comes back: spread, or all that one process lost would come at once."""
    return b"retry: %d\n\n" % random.randint(500, 5000)  # noqa: S311


class Handler(RequestHandler):
    application: "Api"
    deadline: float | None = REQUEST_DEADLINE
    overdue = False
    timer: asyncio.TimerHandle | None = None

    def initialize(self) -> None:
        request_id.set(self.request_id)

    @cached_property
    def request_id(self) -> str:
        given = self.request.headers.get("X-Request-ID", "")
        return given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Request-ID", self.request_id)

    def prepare(self) -> None:
        if len(self.request.body) > MAX_BODY:
            raise ProblemError(413, f"A body has at most {MAX_BODY} bytes.")
        task = asyncio.current_task()
        if task and self.deadline is not None:
            self.timer = asyncio.get_running_loop().call_later(self.deadline, self.expire, task)

    def expire(self, task: asyncio.Task[None]) -> None:
        self.overdue = True
        task.cancel()

    def on_finish(self) -> None:
        if self.timer:
            self.timer.cancel()

    def compute_etag(self) -> None:
        """No hash over every answer: a state has its version."""

    @property
    def allowed(self) -> str:
        own, none = type(self), RequestHandler
        return ", ".join(m for m in self.SUPPORTED_METHODS if getattr(own, m.lower()) != getattr(none, m.lower()))

    def options(self, *path: str) -> None:
        self.set_status(204)
        self.set_header("Allow", self.allowed)

    def query(self, type: type[T]) -> T:
        """The query's parameters, checked. Raises ProblemError, 422."""
        given = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            return msgspec.convert(given, type, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(error, root="") from None

    def body(self, type: type[T]) -> T:
        """The body, checked. Raises ProblemError: 400, 415, 422."""
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, "The body has to be application/json.")
        try:
            return msgspec.json.decode(self.request.body, type=type)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        except msgspec.DecodeError as error:
            raise ProblemError(400, f"The body is not JSON: {error}.") from None

    def user(self) -> int:
        """The id of the user whose token was sent. Raises ProblemError, 401."""
        return auth.user_id(self.request.headers.get("Authorization", ""), self.application.token_keys)

    def idempotency_key(self) -> str:
        """Empty when there is none. Raises ProblemError, 400, as draft-ietf-httpapi-idempotency-key-header has it."""
        given = self.request.headers.get("Idempotency-Key")
        try:
            return "" if given is None else msgspec.convert(given, Key)
        except msgspec.ValidationError:
            raise ProblemError(400, "An Idempotency-Key has 1 to 64 visible ASCII characters.") from None

    def answer(self, value: object) -> None:
        self.finish(msgspec.json.encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error: BaseException | None = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, ProblemError):
            problem = error
        elif error is not None and type(error) in self.application.problems:
            problem = self.application.problems[type(error)]
        elif self.overdue:
            # With the cancellation's traceback, which ends where it was stuck.
            logger.error("%s took longer than %s s", self.request.path, self.deadline, exc_info=True)
            problem = unavailable("This took too long. Please try again.")
        elif status_code == 405:
            problem = ProblemError(405, f"This address takes {self.allowed}.", headers={"Allow": self.allowed})
        elif status_code < 500:
            problem = ProblemError(status_code, "The request is malformed.")
        elif error is not None and self.settings["serve_traceback"]:
            problem = ProblemError(500, "".join(traceback.format_exception(error)))
        else:
            problem = ProblemError(500, "The fault is ours. Please try again.")
        self.set_status(problem.status)
        self.set_header("Content-Type", "application/problem+json")
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.finish(problem.encode(self.request_id))

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(value, Unavailable):
            logger.warning("database: %s", value)
        elif not isinstance(value, (ProblemError, *self.application.problems)):
            super().log_exception(typ, value, tb)


class NotFound(Handler):
    def prepare(self) -> None:
        raise ProblemError(404, "There is nothing at this address.")


class Resource(Handler):
    """Something to GET, and so to HEAD."""

    def head(self, *path: str) -> Awaitable[None] | None:
        return self.get(*path)

    def answer_newest(self, state: State) -> None:
        """With its version as the ETag: who sends that back gets 304 while nothing changed."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("ETag", f'"{state.version}"')
        if self.check_etag_header():
            self.set_status(304)
        else:
            self.answer(state)


class Live(Handler):
    """A watcher, which leaves when its client hangs up. `key` makes the channel's of the address."""

    def initialize(self, key: Callable[..., int]) -> None:  # type: ignore[override]
        super().initialize()
        self.key = key
        self.watcher = Watcher()

    def on_connection_close(self) -> None:
        self.watcher.leave()


class Poll(Live):
    async def get(self, *path: str) -> None:
        query = self.query(PollQuery)
        self.watcher.seen = query.after
        async with self.application.hub.watch(self.key(*path), self.watcher) as channel:
            if await self.watcher.news(query.wait):
                self.finish(channel.json)
            else:
                self.set_status(204)


class Events(Live):
    deadline = None

    async def get(self, *path: str) -> None:
        last = self.request.headers.get("Last-Event-ID", "")
        self.watcher.seen = int(last) if re.fullmatch("[0-9]{1,18}", last) else -1
        async with self.application.hub.watch(self.key(*path), self.watcher) as channel:
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("X-Accel-Buffering", "no")
            await self.send(retry())
            async for news in self.watcher.updates(HEARTBEAT):
                await self.send(b"id: %d\ndata: %s\n\n" % (channel.version, channel.json) if news else b":\n\n")
            if self.watcher.here:
                self.write(retry())

    async def send(self, data: bytes) -> None:
        """Returns when the client has taken everything: what comes meanwhile is one newer state, not a queue."""
        self.write(data)
        try:
            async with asyncio.timeout(STALL):
                await self.flush()
        except StreamClosedError:
            self.watcher.leave()
        except TimeoutError:
            self.watcher.leave()
            self.detach().close()


class Socket(Live, WebSocketHandler):
    deadline = None
    # Tornado's, which calls on_close().
    on_connection_close = WebSocketHandler.on_connection_close

    async def get(self, *path: str) -> None:
        async with self.application.hub.watch(self.key(*path), self.watcher) as channel:
            headers = self.request.headers
            if headers.get("Upgrade", "").lower() != "websocket" or headers.get("Sec-WebSocket-Version") != "13":
                raise ProblemError(426, "This is a WebSocket.", headers={"Upgrade": "websocket"})
            # In which Tornado says what else is wrong with a handshake.
            self.set_header("Content-Type", "text/plain")
            await WebSocketHandler.get(self, channel)

    def check_origin(self, origin: str) -> bool:
        raise ProblemError(403, "A page of another site may not open this.")

    def open(self, channel: Channel) -> None:
        self.sender = asyncio.create_task(self.send(channel))

    async def send(self, channel: Channel) -> None:
        with suppress(WebSocketClosedError):
            async for _ in self.watcher.updates():
                # Not a timeout, which would cancel the write: Tornado fails over that.
                late = asyncio.get_running_loop().call_later(STALL, self.close, 1008, "too slow")
                try:
                    await self.write_message(channel.json)
                finally:
                    late.cancel()
        if self.application.hub.draining:
            self.close(1012, "restarting, come back")
        else:
            self.close(1000, "it was deleted")

    def on_message(self, message: str | bytes) -> None:
        self.close(1003, "nothing is expected here")

    def on_close(self) -> None:
        self.watcher.leave()


def live(address: str, key: Callable[..., int]) -> list[Route]:
    """The three ways to watch; `key` gets what the address's groups matched."""
    ways: dict[str, type[Live]] = {"events": Events, "socket": Socket, "poll": Poll}
    return [(f"{address}/{way}", handler, {"key": key}) for way, handler in ways.items()]


class Document(Resource):
    """The OpenAPI document, and, of the same, the page for people and its style sheet."""

    async def get(self, name: str) -> None:
        self.set_header("Cache-Control", "public, max-age=300")
        if name == "openapi.json":
            self.answer(self.application.document)
        elif name == "docs.css":
            self.set_header("Content-Type", "text/css")
            self.finish(openapi.STYLE)
        else:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            base = f"{self.request.protocol}://{self.request.host}"
            self.finish(openapi.PAGE.generate(document=self.application.document, kind=openapi.kind, base=base))


class HealthLive(Resource):
    async def get(self) -> None:
        self.answer({"status": "live"})


class HealthReady(Resource):
    async def get(self) -> None:
        parts = dict(zip(("database", "bus"), await asyncio.gather(self.database(), self.bus()), strict=True))
        ready = parts["database"] == "ok" and parts["bus"] in ("ok", "polling")
        self.set_status(200 if ready else 503)
        self.answer({"status": "ready" if ready else "unready", **parts})

    async def database(self) -> str:
        try:
            await self.application.store.ping(HEALTH_LIMIT)
        except Unavailable as error:
            return str(error)
        return "ok"

    async def bus(self) -> str:
        try:
            async with asyncio.timeout(HEALTH_LIMIT):
                return await self.application.bus.ping()
        except (RedisError, OSError) as error:
            return one_line(error)


class HealthStats(Resource):
    async def get(self) -> None:
        app = self.application
        self.answer(
            {
                "app": "api",
                "instance": app.instance,
                "slot": app.slot,
                "pid": os.getpid(),
                "started": app.started,
                "requests": app.requests,
                "watchers": app.hub.watchers,
            }
        )
