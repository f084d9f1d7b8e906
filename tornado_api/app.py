"""The api: Tornado's Application with what its handlers need; `start` and `stop` are for the process that serves it."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa
from tornado.web import Application, RequestHandler

from . import handlers, openapi
from .bus import Bus
from .handlers import Route
from .limits import HEARTBEAT
from .live import Hub
from .polls import endpoints as polls
from .polls.openapi import DESCRIPTIONS, OPERATIONS, TYPES
from .polls.store import Store

access = logging.getLogger("access")

ROUTES: list[Route] = [
    *polls.ROUTES,
    (r"/api/(|openapi\.json|docs\.css)", handlers.Document),
    (r"/health/live", handlers.HealthLive),
    (r"/health/ready", handlers.HealthReady),
    (r"/health/stats", handlers.HealthStats),
]
PROBLEMS = handlers.PROBLEMS | polls.PROBLEMS
DOCUMENT = openapi.document(
    "Tandem",
    "Questions, votes, and results as they move.",
    OPERATIONS,
    TYPES,
    DESCRIPTIONS,
)


class Api(Application):
    def __init__(
        self, database_url: sa.URL, redis_url: str, token_keys: Mapping[str, str], instance: str, debug: bool = False
    ) -> None:
        super().__init__(
            ROUTES,
            default_handler_class=handlers.NotFound,
            serve_traceback=debug,
            websocket_ping_interval=HEARTBEAT,
            # Nothing is expected from a watcher.
            websocket_max_message_size=1024,
        )
        self.token_keys = token_keys
        self.problems = PROBLEMS
        self.document = DOCUMENT
        self.instance = instance
        self.slot = 0
        self.started = datetime.now(UTC)
        self.requests = 0
        self.store = Store(database_url, f"api-{instance}")
        self.hub = Hub(self.store)
        self.bus = Bus(redis_url, self.hub)

    def start(self) -> None:
        self.bus.start()

    async def stop(self) -> None:
        await self.bus.stop()
        await self.store.close()

    def log_request(self, handler: RequestHandler) -> None:
        request = handler.request
        if request.path.startswith("/health/"):
            return
        self.requests += 1
        # Without the query: what people put there is nobody's business.
        fields = {
            "method": request.method,
            "path": request.path,
            "status": handler.get_status(),
            "duration_ms": round(request.request_time() * 1000, 1),
        }
        access.info("%(method)s %(path)s %(status)s", fields, extra=fields)


def make() -> Api:
    """The api of this process's environment, as gunicorn asks for it."""
    from . import settings

    return Api(settings.DATABASE_URL, settings.REDIS_URL, settings.TOKEN_KEYS, settings.INSTANCE, settings.DEBUG)
