"""How this process hears of what others changed: it polls the database, and Redis only wakes it earlier.

So a lost notification, or Redis gone, costs a second, and there is no other mode to fall back to.
"""

import asyncio
import logging
import random

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .database import one_line
from .live import Hub

logger = logging.getLogger(__name__)

CHANNEL = "changes"
# Seconds between two polls: without Redis, and with.
TICK, TICK_WITH_REDIS = 0.25, 1.0
# Seconds for Redis to connect or to answer.
LIMIT = 0.5
# Seconds until a lost Redis is tried again: the first time, and at most.
BACKOFF, LONGEST_BACKOFF = 0.1, 5.0


class Outage:
    """Says in the log when something goes and when it is back, and not a thousand times in between.

    The loops below go on after any exception, whatever it is: without them nothing would move on any screen.
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
            # redis-py's own retries would make ten of each wait.
            self.redis = redis.Redis.from_url(
                url, socket_timeout=LIMIT, socket_connect_timeout=LIMIT, retry=Retry(NoBackoff(), 0)
            )
        self.changed: set[int] = set()
        self.wake = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.tasks = {asyncio.create_task(self.poll())}
        if self.redis:
            self.tasks |= {asyncio.create_task(self.listen(self.redis)), asyncio.create_task(self.send(self.redis))}

    async def stop(self) -> None:
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            # And again: redis-py swallows a cancellation that comes while it connects.
            _, self.tasks = await asyncio.wait(self.tasks, timeout=0.1)
        if self.redis:
            await self.redis.aclose()

    async def ping(self) -> str:
        """`ok`, or `polling` without Redis. Raises RedisError."""
        if not self.redis:
            return "polling"
        await self.redis.ping()
        return "ok"

    def publish(self, key: int) -> None:
        """Tell everybody, after the commit; never waits and never fails."""
        self.hub.stale(key)
        self.changed.add(key)
        self.wake.set()

    async def poll(self) -> None:
        outage = Outage("polling the database")
        while True:
            await asyncio.sleep(TICK_WITH_REDIS if self.redis else TICK)
            try:
                await self.hub.poll()
                outage.end()
            except Exception as error:
                outage.begin(error)

    async def send(self, client: redis.Redis) -> None:
        outage = Outage("publishing to Redis")
        while True:
            await self.wake.wait()
            self.wake.clear()
            # Changes that came meanwhile are one message for each key: what waits here cannot grow without bound.
            changed, self.changed = self.changed, set()
            try:
                for key in changed:
                    await client.publish(CHANNEL, key)
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
                            await subscription.ping()  # a connection that is dead fails here
                        elif message["type"] == "message" and message["data"].isdigit():
                            self.hub.stale(int(message["data"]))
            except Exception as error:
                outage.begin(error)
            # Spread out: all processes lost it at the same moment.
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
            backoff = min(backoff * 2, LONGEST_BACKOFF)
