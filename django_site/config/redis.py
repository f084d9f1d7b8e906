"""The site's clients of Redis. Without Redis, every read of the cache is a miss, and nothing fails.

Sessions are in the database behind the cache, so nobody is logged out.
"""

import logging
import time
from typing import Any, ClassVar

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import ConnectionError, Redis, RedisError, TimeoutError

logger = logging.getLogger(__name__)

# Seconds. To find out that Redis is gone may take one, for the name of a container that has stopped. A page asks for
# its session, its cache and its bus: with a few visitors, all workers would be waiting for nothing.
AWAY = 5


class Client(Redis):
    """Once it could not be reached, it is not asked again for a while, and says so at once."""

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
            return super().execute_command(*args, **options)
        except RedisError as error:
            logger.warning("cache: %s: %s", args[0], error)
            return None


class CacheClient(RedisCacheClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = ForgivingClient


class Cache(RedisCache):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._class = CacheClient
