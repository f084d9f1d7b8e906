"""When is a stack whole again, and after how long?"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import psutil

from tests.stacks import AnyStack

INSTANCES = ("site-a", "site-b", "api-a", "api-b")


def whole(stack: AnyStack, *instances: str) -> bool:
    """These instances, or all, get requests and are ready in each of their processes."""
    for instance in instances or INSTANCES:
        if not (stack.seen / "run/upstream" / instance).is_symlink():
            return False
        members = [member for member in stack.members if member.startswith(instance)]
        with stack.inside() as inside:
            try:
                if any(inside.get(f"/{member}/health/ready").status_code != 200 for member in members):
                    return False
            except httpx.HTTPError:
                return False
    return True


def recovered(stack: AnyStack, killed: set[int]) -> bool:
    """These processes have gone, and the stack is whole without them."""
    return gone(killed) and whole(stack)


async def seconds_until(happened: Callable[..., object], *arguments: object, limit: float = 60) -> float:
    began = time.monotonic()
    while not await asyncio.to_thread(happened, *arguments):
        if time.monotonic() > began + limit:
            raise TimeoutError(f"not within {limit} s")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def workers(stack: AnyStack, *parts: str) -> set[int]:
    """The pids of these parts' workers: site-a, …"""
    pids = stack.pids()
    return {worker.pid for part in parts for worker in psutil.Process(pids[part]).children()}


def gone(pids: set[int]) -> bool:
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True
