"""Whether a stack has recovered, and after how long."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import psutil

from tests.stack.checks import workers_of
from tests.stacks import Stack


def whole(stack: Stack, *instances: str) -> bool:
    """Return whether these instances, or all, are in rotation and ready in each of their workers."""
    if not all((stack.seen / "run/upstream" / name).is_symlink() for name in instances or stack.instances):
        return False
    try:
        with stack.inside() as inside:
            return all(inside.get(f"/{name}/health/ready").status_code == 200 for name in stack.sockets(*instances))
    except httpx.HTTPError:
        return False


def recovered(stack: Stack, killed: set[int]) -> bool:
    """Return whether these processes have ended and the stack has recovered without them."""
    return gone(killed) and whole(stack)


async def seconds_until(happened: Callable[..., object], *arguments: object, limit: float = 60) -> float:
    """Wait until `happened(*arguments)` is true. Return the seconds it took. Raises TimeoutError after `limit`."""
    began = time.monotonic()
    while not await asyncio.to_thread(happened, *arguments):
        if time.monotonic() > began + limit:
            raise TimeoutError(f"not within {limit} s")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def workers(stack: Stack, *services: str) -> set[int]:
    """Return the pids of the workers of these services, for example site-a; without a name, of all instances."""
    pids = stack.pids()
    return {each.pid for name in services or stack.instances for each in workers_of(pids[name])}


def gone(pids: set[int]) -> bool:
    """Return whether all these processes have ended."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True
