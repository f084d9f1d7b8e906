"""A certificate from an authority (ACME_EMAIL), in containers."""

import contextlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.compose.conftest import processes
from tests.compose.pebble import Pebble
from tests.servers import free_port
from tests.stack.checks import LISTENING
from tests.stacks import ComposeStack, directory, docker, running

NAME = "www.example.org"
# Anybody may be the server. Tests compare the certificates themselves.
ANYONE = ssl.create_default_context()
ANYONE.check_hostname, ANYONE.verify_mode = False, ssl.CERT_NONE


@pytest.fixture(scope="module")
def authority() -> Iterator[Pebble]:
    # The address of this machine in the containers' networks.
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with directory() as files:
        yield Pebble(files, gateway, web=str(free_port()))


@pytest.fixture(scope="module")
def secure(authority: Pebble) -> Iterator[ComposeStack]:
    """A stack that starts while the authority does not run."""
    given = {"TLS": "on", "PLAIN_PORT": authority.web, "ALLOWED_HOSTS": f"localhost,127.0.0.1,{NAME}", "CPUS": "1"}
    with running(ComposeStack, authority.variables | given) as stack:
        stack.tls = ANYONE
        yield stack


def certificate(stack: ComposeStack, root: str = "") -> bytes:
    """Return nginx's certificate for NAME. Raises SSLError if it is not of this root."""
    context = ssl.create_default_context(cadata=root) if root else ANYONE
    connection = stack.connect_plain()
    with context.wrap_socket(connection, server_hostname=NAME) as tls:
        return tls.getpeercert(binary_form=True) or b""


def trusted(stack: ComposeStack, root: str, before: bytes) -> bytes:
    """Return the certificate after `before`, which is of this root, once every worker of nginx serves with it."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with contextlib.suppress(ssl.SSLCertVerificationError):
            found = {certificate(stack, root) for _ in range(10)}
            if len(found) == 1 and before not in found:
                return found.pop()
        time.sleep(0.1)
    raise TimeoutError("nginx got no certificate of the authority")


@contextlib.contextmanager
def visitors(stack: ComposeStack) -> Iterator[Counter[str]]:
    """For the block, four clients that open a connection for each request. Yields the counts of what they got."""
    found, stop = Counter[str](), threading.Event()

    def visit() -> None:
        with stack.client(headers={"Host": NAME, "Connection": "close"}) as client:
            while not stop.is_set():
                for app in LISTENING:
                    try:
                        found[str(client.get(app.prefix).status_code)] += 1
                    except httpx.HTTPError as error:
                        found[repr(error)] += 1

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(visit) for _ in range(4)]
        try:
            yield found
        finally:
            stop.set()
    for client in clients:
        client.result()


def test_first_certificate_renewal_and_restart(secure: ComposeStack, authority: Pebble) -> None:
    """In one test, because the restarts take most of its time."""
    # Without the authority.
    own = certificate(secure)
    assert "✗ certificate: self-signed" in secure.make("doctor").stdout
    with secure.client(headers={"Host": NAME}) as client:
        assert {client.get(app.prefix).status_code for app in LISTENING} == {200}

    with authority.running():
        root = authority.root()
        # It tries again after a quarter of an hour, and when it starts.
        docker("restart", secure.container("certbot")["Id"])
        first = trusted(secure, root, own)
        assert "✓ certificate: valid until" in secure.make("doctor").stdout

        with visitors(secure) as found:
            secure.run("certbot", "certbot.sh", "--force-renewal")
            renewed = trusted(secure, root, first)
        assert found.total() > 100
        assert found.keys() == {"200"}, found
        # Nothing is due.
        secure.run("certbot", "certbot.sh", "--verbose")
        for pid in processes(secure, "certbot"):
            assert "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()

    # New containers, without the authority.
    secure.compose("--profile=acme", "up", "--detach", "--no-deps", "--force-recreate", "--wait", "certbot", "nginx")
    assert certificate(secure, root) == renewed
