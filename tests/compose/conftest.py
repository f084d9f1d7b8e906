"""The stack in containers, shared with tests/stack --stack=compose, and its state in the engine and the kernel."""

import time
from collections.abc import Iterator

import pytest

from deploy.core import apps
from tests.servers import free_port
from tests.stacks import ComposeStack, docker, running

# The services with images of the project, and all services.
OURS = apps.SERVICES
SERVICES = (*OURS, "postgres", "redis")
# They send mail, and answer no requests.
SENDERS = tuple(name for name in ("jobs-a", "jobs-b") if name in OURS)


@pytest.fixture(scope="session")
def stack(compose: ComposeStack) -> ComposeStack:
    """Tests leave it as they found it, except its data."""
    wait_healthy(compose)
    return compose


@pytest.fixture(scope="session")
def other() -> Iterator[ComposeStack]:
    """A stack with other settings. Tests that stop it start it again."""
    ports = {name: str(free_port()) for name in ("METRICS_PORT", "PROMETHEUS_PORT")}
    own = {"APP_UID": "12345", "CPUS": "1", "ALERT_URL": "http://192.0.2.1/", "STACK_PAGE": "everybody"}
    with running(ComposeStack, own | ports) as stack:
        yield stack


def wait_healthy(stack: ComposeStack, *services: str) -> None:
    """Return when the health checks of these services, or of all, succeed."""
    deadline = time.monotonic() + 90
    while True:
        containers = stack.containers()
        health = {name: containers[name]["State"]["Health"]["Status"] for name in services or SERVICES}
        if set(health.values()) == {"healthy"}:
            return
        assert time.monotonic() < deadline, health
        time.sleep(0.2)


def processes(stack: ComposeStack, service: str) -> list[int]:
    """Return the pids, on this machine, of all processes in a service's container."""
    return [int(pid) for pid in docker("top", stack.container(service)["Id"], "-eo", "pid").split()[1:]]
