"""A stack with TLS and metrics for Prometheus, beside the one that all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.faults import self_signed
from tests.stacks import Stack, directory, running


@pytest.fixture(scope="session")
def secure(stack: Stack, stack_class: type[Stack]) -> Iterator[Stack]:
    """A stack with TLS=on and a certificate that openssl makes."""
    servers.program("curl", "curl")
    if stack.tls:
        yield stack
        return
    with directory() as files:
        certificate = self_signed(files, "::1")
        # For this test only: root's stack runs as www-data.
        Path(certificate["TLS_KEY"]).chmod(0o644)
        ports = {name: str(servers.free_port()) for name in ("PLAIN_PORT", "METRICS_PORT")}
        variables = certificate | ports | {"TLS": "on", "CORES": "1"}
        with running(stack_class, variables) as secure:
            yield secure
