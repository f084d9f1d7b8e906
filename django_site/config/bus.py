"""Notify the api of changes through Redis. The api also polls, so a lost notification costs at most a second."""

import logging
from functools import cache

from django.conf import settings
from redis import Redis, RedisError

from . import traces
from .redis import Client

CHANNEL = "changes"
logger = logging.getLogger(__name__)


@cache
def client() -> Redis:
    return Client.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def publish(names: list[str]) -> None:
    """Tell the api that these live channels changed, such as `polls:7`. Without Redis, do nothing."""
    if not settings.REDIS_URL:
        return
    try:
        for name in names:
            with traces.span("PRODUCER", "publish"):
                client().publish(CHANNEL, f"{name} {traces.carry()}".rstrip())
    except RedisError as error:
        logger.warning("not published: %s", error)
