"""Django Channels with its own groups, over Redis. `make bench` measures how fast these reach their watchers."""

import os

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.conf import settings
from hello_asgi import application as hello

REDIS = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [os.environ["REDIS_URL"]]}}
settings.configure(CHANNEL_LAYERS={"default": REDIS})
django.setup()


class Live(AsyncWebsocketConsumer):  # type: ignore[misc]
    groups = ("polls",)

    async def changed(self, event: dict[str, str]) -> None:
        await self.send(event["text"])


application = ProtocolTypeRouter({"http": hello, "websocket": Live.as_asgi()})
