"""The Tornado application with everything that its handlers use. This module imports no handler."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar, cast

import tornado.web
from tornado.web import RequestHandler

from . import auth, metrics, openapi, traces
from .bus import Bus
from .database import Database, NoUser, Unavailable
from .limits import HEARTBEAT
from .live import Gone, Hub, Store, TooManyWatchers
from .problem import ProblemError, unavailable
from .reads import Reads
from .revocation import Revocations

access = logging.getLogger("access")

S = TypeVar("S", bound=Store)
# A pattern of the path, its handler, and the arguments of the handler's initialize().
Route = tuple[str, type[RequestHandler]] | tuple[str, type[RequestHandler], dict[str, Any]]

# The error responses for exceptions that every app may raise.
PROBLEMS: dict[type[BaseException], ProblemError] = {
    NoUser: auth.refuse("The token was revoked, or its user no longer exists.", ' error="invalid_token"'),
    Unavailable: unavailable("The database does not answer. Please try again."),
    Gone: ProblemError(404, "There is nothing to watch at this address."),
    TooManyWatchers: unavailable("Too many clients are watching. Please try again."),
}


class Feature(NamedTuple):
    """What one package adds to an app.

    `problems` are the error responses for its exceptions. `stores` are classes whose instances the hub reads states
    from, each with a name of its own.
    """

    routes: Sequence[Route] = ()
    problems: Mapping[type[BaseException], ProblemError] = {}
    stores: Sequence[Callable[[Database], Store]] = ()
    section: openapi.Section = openapi.Section()


def with_pattern(route: Route) -> Route:
    """Return a route whose handler has its pattern in `route`, for metrics: /rooms/([0-9]+) is /rooms/{}."""
    pattern, handler, *options = route
    attributes = {"route": re.sub(r"\([^)]*\)", "{}", pattern)}
    return (pattern, type(handler.__name__, (handler,), attributes), *options)  # type: ignore[return-value]


class Application(tornado.web.Application):
    """One process of an app. `start` and `stop` are for the process that serves it."""

    def __init__(
        self,
        routes: Sequence[Route],
        features: Sequence[Feature],
        not_found: type[RequestHandler],
        *,
        name: str,
        instance: str,
        database_url: str,
        redis_url: str,
        token_keys: Mapping[str, str],
        pooler: bool = False,
        debug: bool = False,
    ) -> None:
        """Serve `routes` and the routes of the features. Raises ValueError if two stores have the same name."""
        super().__init__(
            [*(with_pattern(route) for feature in features for route in feature.routes), *map(with_pattern, routes)],
            default_handler_class=not_found,
            serve_traceback=debug,
            websocket_ping_interval=HEARTBEAT,
        )
        self.name = name
        self.instance = instance
        self.token_keys = token_keys
        self.problems = dict(PROBLEMS)
        self.slot = 0
        self.started = datetime.now(UTC)
        self.requests = 0
        self.database = Database(database_url, instance, pooler)
        self.reads = Reads()
        self.revocations = Revocations(self.database)
        self.stores: dict[str, Store] = {}
        for feature in features:
            self.problems |= feature.problems
            for make in feature.stores:
                store = make(self.database)
                if store.name in self.stores:
                    raise ValueError(f"two stores are named {store.name!r}")
                self.stores[store.name] = store
        self.hub = Hub(self.stores)
        self.bus = Bus(redis_url, self.hub)

    async def start(self) -> None:
        await self.revocations.start()
        self.bus.start()

    async def stop(self) -> None:
        self.revocations.stop()
        await self.bus.stop()
        await self.database.close()

    def store(self, kind: type[S]) -> S:
        """Return the app's instance of a store class that one of its features lists."""
        return cast(S, self.stores[kind.name])

    def log_request(self, handler: RequestHandler) -> None:
        request = handler.request
        if request.path.startswith("/health/"):
            return
        self.requests += 1
        method = request.method if request.method in handler.SUPPORTED_METHODS else "other"
        labels = (method, getattr(handler, "route", "none"), str(handler.get_status()))
        metrics.mine(metrics.REQUESTS, *labels).observe(request.request_time())
        traces.end_request(getattr(handler, "spans", ()), *labels)
        # Without the query string, which may hold personal data.
        fields = {
            "method": request.method,
            "path": request.path,
            "status": handler.get_status(),
            "duration_ms": round(request.request_time() * 1000, 1),
        }
        access.info("%(method)s %(path)s %(status)s", fields, extra=fields)
