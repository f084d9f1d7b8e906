"""The stack in containers, as tests/stack has it with --stack=compose, and what the engine and the kernel say of it."""

import time
from collections.abc import Iterator

import pytest

from tests.stacks import ComposeStack, docker, running

SERVICES = ("nginx", "site-a", "site-b", "api", "postgres", "redis")
OURS = ("nginx", "site-a", "site-b", "api")


@pytest.fixture(scope="session")
def stack(compose: ComposeStack) -> ComposeStack:
    """Shared with tests/stack: left as it was found, but for the data."""
    wait_healthy(compose)
    return compose


@pytest.fixture(scope="session")
def other() -> Iterator[ComposeStack]:
    """One with settings of its own; tests start it again when they have stopped it."""
    with running(ComposeStack, {"APP_UID": "12345", "CPUS": "1"}) as stack:
        yield stack


def wait_healthy(stack: ComposeStack, *services: str) -> None:
    """Every service, or these, say to the engine that they are."""
    deadline = time.monotonic() + 90
    while True:
        containers = stack.containers()
        health = {name: containers[name]["State"]["Health"]["Status"] for name in services or SERVICES}
        if set(health.values()) == {"healthy"}:
            return
        assert time.monotonic() < deadline, health
        time.sleep(0.2)


def processes(stack: ComposeStack, service: str) -> list[int]:
    """The pids, out here, of all that runs in a service's container."""
    return [int(pid) for pid in docker("top", stack.container(service)["Id"], "-eo", "pid").split()[1:]]
