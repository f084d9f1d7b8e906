"""Certificates of an authority on two edges. Each edge gets its own, whichever of them the authority connects to."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_alerts import wait_until
from tests.compose.pebble import Pebble
from tests.hosts.hosts import Host
from tests.hosts.stack import HostsStack
from tests.hosts.test_hosts_lost import wait_until_whole
from tests.stacks import directory

pytestmark = pytest.mark.long

NAME = "www.example.org"


@pytest.fixture
def authority(five: HostsStack) -> Iterator[Pebble]:
    """It finds NAME at the virtual address, and the edges trust it."""
    with directory() as files:
        pebble = Pebble(files, five.outward, web="80", names_at=five.virtual_addresses[0])
        authority = Path(pebble.files["TLS_CERTIFICATE"]).read_text()
        place = "/usr/local/share/ca-certificates/pebble.crt"
        for edge in five.on("edge"):
            edge.run(f"cat >{place} && update-ca-certificates", input=authority)
        with pebble.running():
            yield pebble
        for edge in five.on("edge"):
            edge.run(f"rm {place} && update-ca-certificates --fresh")


def certificate(edge: Host, root: str) -> bytes:
    """Return an edge's certificate for NAME. Raises SSLError if it is not of this root."""
    context = ssl.create_default_context(cadata=root)
    with (
        socket.create_connection((edge.address, 443), 30) as connection,
        context.wrap_socket(connection, server_hostname=NAME) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_each_edge_has_a_certificate(five: HostsStack, authority: Pebble) -> None:
    def use_acme(inventory: Any) -> None:
        inventory["all"]["vars"] |= {"tls": "acme", "domains": [NAME], "acme_email": "admin@example.org"}
        inventory["all"]["vars"]["acme_directory"] = authority.variables["ACME_DIRECTORY"]

    def use_another(inventory: Any) -> None:
        inventory["all"]["vars"]["acme_directory"] += "?another"

    wait_until_whole(five)
    root = authority.root()
    try:
        with five.other_inventory(use_acme):
            done = five.make("provision")
        assert done.returncode == 0, done.stdout
        assert "PRIVATE KEY" not in done.stdout
        first = {edge.name: certificate(edge, root) for edge in five.on("edge")}
        # Each has a key of its own, which only root and nginx read.
        assert len({*first.values()}) == 2
        for edge in five.on("edge"):
            assert edge.run("stat --format='%A %U %G' /srv/app/secrets/tls_key").stdout == "-rw-r----- root app\n"
            assert edge.run("find /etc/letsencrypt/archive -name 'privkey*' -perm /077").stdout == ""

        # Another authority, by its address: each edge replaces its certificate once.
        with five.other_inventory(use_acme), five.other_inventory(use_another):
            assert five.make("provision").returncode == 0
            second = {edge.name: certificate(edge, root) for edge in five.on("edge")}
            assert {*first.values()}.isdisjoint(second.values())
            assert five.make("provision").returncode == 0
        assert {edge.name: certificate(edge, root) for edge in five.on("edge")} == second

        # An edge renews its own while the other one is down.
        gone = five.network[five.holder()]
        [left] = [edge for edge in five.on("edge") if edge is not gone]
        gone.power_off()
        wait_until(
            lambda: five.virtual_addresses[0] in left.run("hostname --all-ip-addresses").stdout.split(), seconds=60
        )
        left.run("certbot renew --force-renewal --no-random-sleep-on-renew")
        wait_until(lambda: certificate(left, root) != second[left.name], seconds=60)
        gone.power_on()
    finally:
        # The names are a setting of nginx and the apps.
        for target in ("provision", "deploy"):
            back = five.make(target)
            assert back.returncode == 0, back.stdout
    wait_until_whole(five)
