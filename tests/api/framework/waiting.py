"""Waits, and writes of other processes, for the tests of live channels and outages."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from tests.api.framework.sample import CounterStore, Subject
from tests.api.served import Served
from tests.api.tokens import VOTERS, owner


async def until(condition: Callable[[], Any]) -> None:
    """Return when the condition, which may be a coroutine, is met. Raises TimeoutError after 15 s."""
    async with asyncio.timeout(15):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def write_elsewhere(api: Served, subject: Subject) -> int:
    """Increment a counter as another process does, without telling this one. Return the new version."""
    return await api.app.store(CounterStore).increment(subject.id, owner(next(VOTERS)))
