"""Django's Redis cache, with Redis gone as a miss. Sessions are in the database behind it: nobody is logged out."""

import logging
from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import RedisError

from . import redis

logger = logging.getLogger(__name__)


class Client(redis.Client):
    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)
        except RedisError as error:
            logger.warning("cache: %s: %s", args[0], error)
            return None


class CacheClient(RedisCacheClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = Client


class Cache(RedisCache):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._class = CacheClient
