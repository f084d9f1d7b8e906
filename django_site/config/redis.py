"""The site's Redis clients. Without Redis, every read of the cache is a miss, and nothing fails.

Users stay logged in: sessions are in the database, behind the cache.
"""

import logging
import time
from typing import Any, ClassVar

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import ConnectionError, Redis, RedisError, TimeoutError

from . import metrics

logger = logging.getLogger(__name__)
READS = metrics.counter("cache_reads", "Reads of the cache in Redis", "result")

# Seconds. Detecting that Redis is unavailable can take a second, to resolve the name of a stopped container. A page
# uses Redis for its session, its cache and its bus: with a few visitors, every worker would wait.
AWAY = 5


class Client(Redis):
    """After a failed connection, fail at once for AWAY seconds instead of connecting again."""

    back: ClassVar[float] = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if time.monotonic() < Client.back:
            raise ConnectionError("could not be reached a moment ago")
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (ConnectionError, TimeoutError):
            Client.back = time.monotonic() + AWAY
            raise


class ForgivingClient(Client):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            found = super().execute_command(*args, **options)
            if args[0] == "GET":
                metrics.mine(READS, "miss" if found is None else "hit").inc()
            return found
        except RedisError as error:
            logger.warning("cache: %s: %s", args[0], error)
            # Cache.add says that it stored the value: allauth waits a second for a lock that it does not get, and then
            # rejects the request.
            return True if "NX" in args else None


class CacheClient(RedisCacheClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = ForgivingClient


class Cache(RedisCache):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._class = CacheClient
