"""How this process learns of changes that other processes made.

It checks the database at an interval. Redis only makes it read a channel sooner, so a lost notification, or an outage
of Redis, costs at most a second.
"""

import asyncio
import logging
import random

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from . import traces
from .database import one_line
from .live import Hub

logger = logging.getLogger(__name__)

# Redis's channel. A message is the name of a live channel that changed: "rooms:7". With traces, a blank and
# the change's traceparent follow.
CHANNEL = "changes"
# Seconds between two checks of the database: without Redis, and with it.
INTERVAL, INTERVAL_WITH_REDIS = 0.25, 1.0
# Seconds for Redis to connect or to answer.
LIMIT = 0.5
# Seconds before the next attempt to reach Redis: the first time, and at most.
BACKOFF, LONGEST_BACKOFF = 0.1, 5.0


class Outage:
    """Logs the begin and the end of an outage, and no repeated failure in between.

    The loops below continue after any exception: without them no watcher would get news.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.on = False

    def begin(self, error: Exception) -> None:
        if not self.on:
            logger.warning("%s: %s", self.what, one_line(error))
        self.on = True

    def end(self) -> None:
        if self.on:
            logger.warning("%s: back", self.what)
        self.on = False


class Bus:
    def __init__(self, url: str, hub: Hub) -> None:
        self.hub = hub
        self.redis: redis.Redis | None = None
        if url:
            # redis-py's own retries would make each wait ten times as long. One, at once, for a kept connection that a
            # restart of Redis closed.
            retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
            self.redis = redis.Redis.from_url(url, socket_timeout=LIMIT, socket_connect_timeout=LIMIT, retry=retry)
        # Channels, each with the trace of its last change.
        self.changed: dict[str, str] = {}
        self.wake = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.tasks = {asyncio.create_task(self.check_for_changes())}
        if self.redis:
            self.tasks |= {asyncio.create_task(self.listen(self.redis)), asyncio.create_task(self.send(self.redis))}

    async def stop(self) -> None:
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            # Repeated, because redis-py swallows a cancellation while it connects.
            _, self.tasks = await asyncio.wait(self.tasks, timeout=0.1)
        if self.redis:
            await self.redis.aclose()

    async def ping(self) -> str:
        """`ok`, or `off` without Redis. Raises RedisError."""
        if not self.redis:
            return "off"
        await self.redis.ping()
        return "ok"

    def publish(self, channel: str) -> None:
        """Announce a change of a live channel ("rooms:7") after its commit. Never waits and never fails."""
        self.changed[channel] = traces.carry()
        self.hub.mark_stale(channel, self.changed[channel])
        self.wake.set()

    async def check_for_changes(self) -> None:
        outage = Outage("checking the database for changes")
        while True:
            await asyncio.sleep(INTERVAL_WITH_REDIS if self.redis else INTERVAL)
            try:
                await self.hub.check_for_changes()
                outage.end()
            except Exception as error:
                outage.begin(error)

    async def send(self, client: redis.Redis) -> None:
        outage = Outage("publishing to Redis")
        while True:
            await self.wake.wait()
            self.wake.clear()
            # One message for each channel, however often it changed, so that the backlog cannot grow without bound.
            changed, self.changed = self.changed, {}
            try:
                for channel, trace in changed.items():
                    await client.publish(CHANNEL, f"{channel} {trace}".rstrip())
                outage.end()
            except Exception as error:
                outage.begin(error)

    async def listen(self, client: redis.Redis) -> None:
        outage = Outage("listening to Redis")
        backoff = BACKOFF
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(CHANNEL)
                    outage.end()
                    backoff = BACKOFF
                    while True:
                        message = await subscription.get_message(timeout=10)
                        if message is None:
                            await subscription.ping()  # fails if the connection is dead
                        elif message["type"] == "message":
                            channel, _, trace = message["data"].decode(errors="replace").partition(" ")
                            self.hub.mark_stale(channel, trace)
            except Exception as error:
                outage.begin(error)
            # Spread out, because all processes lose Redis at the same moment.
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
            backoff = min(backoff * 2, LONGEST_BACKOFF)
