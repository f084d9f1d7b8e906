"""Whether this process lives, whether it is ready, and its counters. Clients reach only /health/up of these."""

import asyncio
import os

from prometheus_client import CONTENT_TYPE_LATEST
from redis import RedisError

from . import metrics
from .database import Unavailable, one_line
from .handler import ResourceHandler

# Seconds for each check of readiness. A database that hangs takes one more (Database.connect).
HEALTH_LIMIT = 1


class LivenessHandler(ResourceHandler):
    async def get(self) -> None:
        self.answer({"status": "live"})


class ReadinessHandler(ResourceHandler):
    async def get(self) -> None:
        parts = dict(zip(("database", "bus"), await asyncio.gather(self.database(), self.bus()), strict=True))
        ready = parts["database"] == "ok" and parts["bus"] in ("ok", "off")
        self.set_status(200 if ready else 503)
        self.answer({"status": "ready" if ready else "unready", **parts})

    async def database(self) -> str:
        try:
            await self.application.database.ping(HEALTH_LIMIT)
        except Unavailable as error:
            return str(error)
        return "ok"

    async def bus(self) -> str:
        try:
            async with asyncio.timeout(HEALTH_LIMIT):
                return await self.application.bus.ping()
        except (RedisError, OSError) as error:
            return one_line(error)


class UpHandler(ReadinessHandler):
    """For load balancers and monitors outside (nginx, `up`): 200 or 503, and no detail."""

    async def get(self) -> None:
        self.set_status(200 if await self.database() == "ok" else 503)


class MetricsHandler(ResourceHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(await asyncio.to_thread(metrics.read))


class StatisticsHandler(ResourceHandler):
    async def get(self) -> None:
        app = self.application
        self.answer(
            {
                "app": app.name,
                "instance": app.instance,
                "slot": app.slot,
                "pid": os.getpid(),
                "started": app.started,
                "requests": app.requests,
                "watchers": app.hub.watchers,
            }
        )
