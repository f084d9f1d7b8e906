"""Base classes of handlers: checked input, deadlines, and errors as problem documents."""

import asyncio
import logging
import re
import traceback
import uuid
from collections.abc import Awaitable, Hashable
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, RequestHandler

from . import auth, traces
from .application import Application
from .database import Unavailable
from .limits import MAX_BODY, REQUEST_DEADLINE
from .live import State, encode
from .log import request_id
from .problem import ProblemError, invalid, unavailable
from .reads import Encoded, Read
from .schemas import Key

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Handler(RequestHandler):
    """A request. `deadline` is in seconds; None: the request may last."""

    application: Application
    deadline: float | None = REQUEST_DEADLINE
    overdue = False
    timer: asyncio.TimerHandle | None = None

    def initialize(self) -> None:
        request_id.set(self.request_id)
        self.spans = traces.begin_request(self.request.path, self.request_id, self.request.headers)

    @cached_property
    def request_id(self) -> str:
        given = self.request.headers.get("X-Request-ID", "")
        return given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex

    def clear(self) -> None:
        """Reset the response. It gets no date, which nginx replaces and Tornado formats in 14% of a read's time."""
        self._headers = HTTPHeaders()
        self.set_default_headers()
        self._write_buffer = []
        self.set_status(200)

    def set_default_headers(self) -> None:
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
        """Turn off Tornado's hash of every response: a state's ETag is its version."""

    @property
    def allowed(self) -> str:
        own, none = type(self), RequestHandler
        return ", ".join(m for m in self.SUPPORTED_METHODS if getattr(own, m.lower()) != getattr(none, m.lower()))

    def options(self, *path: str) -> None:
        self.set_status(204)
        self.set_header("Allow", self.allowed)

    def query(self, type: type[T]) -> T:
        """Return the validated query string. Raises ProblemError, 422."""
        given = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            return msgspec.convert(given, type, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(error, root="") from None

    def body(self, type: type[T]) -> T:
        """Return the validated body. Raises ProblemError: 400, 415, 422."""
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, "The body has to be application/json.")
        try:
            return msgspec.json.decode(self.request.body.decode(), type=type)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProblemError(400, f"The body is not JSON: {error}.") from None

    @property
    def authorization(self) -> str:
        return self.request.headers.get("Authorization", "")

    def token(self) -> auth.Token:
        """Return the request's token. A write's statement checks it again (database.AUTHORIZED).

        Raises ProblemError, 401; NoUser; Unavailable.
        """
        token = auth.verify(self.authorization, self.application.token_keys)
        self.application.revocations.check(token)
        return token

    def user(self) -> int:
        """Return the id of the token's user, for a read. Raises what `token` raises."""
        return self.token().user_id

    def idempotency_key(self) -> str:
        """Empty without the header. Raises ProblemError, 400, as draft-ietf-httpapi-idempotency-key-header says."""
        given = self.request.headers.get("Idempotency-Key")
        try:
            return "" if given is None else msgspec.convert(given, Key)
        except msgspec.ValidationError:
            raise ProblemError(400, "An Idempotency-Key has 1 to 64 visible ASCII characters.") from None

    def answer(self, value: object) -> None:
        self.finish(value.json if isinstance(value, Encoded) else encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error: BaseException | None = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, ProblemError):
            problem = error
        elif error is not None and type(error) in self.application.problems:
            problem = self.application.problems[type(error)]
        elif self.overdue:
            # The traceback of the cancellation ends where the request was stuck.
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
        elif not isinstance(value, (ProblemError, HTTPError, *self.application.problems)) and typ and value:
            # Tornado would log the whole address. Its query string may hold personal data.
            method, path = self.request.method, self.request.path
            logger.error("uncaught exception in %s %s", method, path, exc_info=(typ, value, tb))


class NotFoundHandler(Handler):
    def prepare(self) -> None:
        raise ProblemError(404, "There is nothing at this address.")


class ResourceHandler(Handler):
    """A resource that clients GET. It also answers HEAD."""

    def head(self, *path: str) -> Awaitable[None] | None:
        return self.get(*path)

    def share(self, read: Read, *arguments: Hashable) -> Awaitable[Encoded]:
        """Read what the store's method `read` returns, together with other requests that want the same."""
        return self.application.reads.share(read, *arguments)

    def answer_newest(self, state: State) -> None:
        """Answer with a state and its version as the ETag, or 304 if the client has this version."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("ETag", f'"{state.version}"')
        if self.check_etag_header():
            self.set_status(304)
        else:
            self.answer(state)
