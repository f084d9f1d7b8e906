"""Tells the api at once what changed. The api also polls, so a notification that is lost costs a second."""

import logging
from functools import cache

from django.conf import settings
from redis import Redis, RedisError

from .redis import Client

CHANNEL = "changes"
logger = logging.getLogger(__name__)


@cache
def client() -> Redis:
    return Client.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def publish(ids: list[int]) -> None:
    if not settings.REDIS_URL:
        return
    try:
        for id in ids:
            client().publish(CHANNEL, id)
    except RedisError as error:
        logger.warning("not published: %s", error)
