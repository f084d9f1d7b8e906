"""Tells the api at once which tallies changed. The api also polls, so a notification that is lost costs a second."""

import logging
from functools import cache

from config.redis import Client
from django.conf import settings
from redis import Redis, RedisError

CHANNEL = "tallies"
logger = logging.getLogger(__name__)


@cache
def client() -> Redis:
    return Client.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def publish(question_ids: list[int]) -> None:
    if not settings.REDIS_URL:
        return
    try:
        for question_id in question_ids:
            client().publish(CHANNEL, question_id)
    except RedisError as error:
        logger.warning("not published: %s", error)
