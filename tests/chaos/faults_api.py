"""Faults on demand at /api/v1/faults/ of the api, in the copy of the project that tests/chaos runs."""

import asyncio

from tornado_api.application import Feature
from tornado_api.handler import Handler

held: list[bytearray] = []


class Sleep(Handler):
    async def get(self) -> None:
        await asyncio.sleep(float(self.get_query_argument("seconds")))
        self.answer("slept")


class Spin(Handler):
    async def get(self) -> None:
        while True:
            pass


class Leak(Handler):
    async def get(self) -> None:
        held.append(bytearray(b"x") * (int(self.get_query_argument("mb")) * 1_000_000))
        self.answer("leaked")


FAULTS = Feature([(f"/api/v1/faults/{handler.__name__.lower()}", handler) for handler in (Sleep, Spin, Leak)])
