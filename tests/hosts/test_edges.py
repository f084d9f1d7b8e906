"""Two edges with virtual addresses: one loses power, or its nginx hangs, reloads, and is upgraded."""

import asyncio
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from tests.chaos.load import GETS, POSTS, Load
from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.hosts.hosts import Host
from tests.hosts.stack import HostsStack
from tests.hosts.test_deploy import make
from tests.hosts.test_hosts_lost import is_whole, wait_until_whole
from tests.sample import Crowd

# Installs the older of two versions of a package, and offers the newer one to apt. `then` is the newer one's postinst.
PACKAGE = """
set -eu
umask 022
mkdir -p /srv/packages/root/DEBIAN && cd /srv/packages
for version in {old} {new}; do
    printf 'Package: pending\\nVersion: %s\\n' $version >root/DEBIAN/control
    printf 'Architecture: all\\nMaintainer: tests\\nDescription: tests\\n' >>root/DEBIAN/control
    dpkg-deb --build root pending_$version.deb
    [ $version = {new} ] || dpkg --install pending_$version.deb
    printf '#!/bin/sh\\n{then}\\n' >root/DEBIAN/postinst
    chmod 755 root/DEBIAN/postinst
done
dpkg-deb --build root pending_{new}.deb
{{
    dpkg-deb --field pending_{new}.deb
    echo "Filename: ./pending_{new}.deb"
    echo "Size: $(stat --format=%s pending_{new}.deb)"
    echo "SHA256: $(sha256sum pending_{new}.deb | cut --delimiter=' ' --fields=1)"
}} >Packages
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list.d/pending.list
"""


@pytest.fixture(scope="module")
def edges(five: HostsStack) -> Iterator[HostsStack]:
    """The stack as clients of the virtual address see it."""
    five.entry = five.virtual_addresses[0]
    yield five
    five.entry = ""


@pytest.fixture(scope="module")
def crowd(edges: HostsStack) -> Crowd:
    return Crowd.gather(edges)


@pytest.fixture
def holder(edges: HostsStack) -> Host:
    """The edge with the virtual addresses. The stack is whole."""
    wait_until_whole(edges)
    return edges.network[edges.holder()]


def answers(stack: HostsStack) -> bool:
    """Return whether a new connection to the virtual address gets an answer."""
    with suppress(httpx.HTTPError), stack.client(timeout=1) as client:
        return client.get("/up").status_code == 200
    return False


def moves(stack: HostsStack) -> int:
    """Return how often an edge took the addresses over since it booted."""
    log = "journalctl --boot --unit keepalived --output=cat"
    return sum(host.run(log).stdout.count("Entering MASTER STATE") for host in stack.on("edge") if host.booted)


def pend(host: Host, then: str = "true") -> None:
    """Let a package wait for its upgrade."""
    old = int(time.time())
    host.run(PACKAGE.format(old=old, new=old + 1, then=then))


def version(host: Host) -> int:
    return int(host.run("dpkg-query --show --showformat='${Version}' pending").stdout)


def check_lost(load: Load) -> None:
    """Each client may lose the request that it waited for, and no other."""
    assert load.failed() <= len(load.clients) + len(load.watching), load.report()


async def test_power_off(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    async with Load(edges, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(holder.power_off)
        seconds = await seconds_until(answers, edges)
        other = edges.holder()
        async with httpx.AsyncClient(verify=edges.tls or True) as client:
            assert (await client.get(f"https://[{edges.virtual_addresses[1]}]/up")).status_code == 200
        await asyncio.sleep(5)
        await asyncio.to_thread(holder.power_on)
        await seconds_until(is_whole, edges, limit=120)
        await asyncio.sleep(5)
    record("the edge with the virtual addresses loses power", *load.figures(), seconds, load.saw())
    # It returned, and they stay where they are.
    assert edges.holder() == other != holder.name
    check_lost(load)
    shown = edges.make("fleet").stdout
    for address in edges.virtual_addresses:
        assert f"\n{address} is on {other}\n" in shown


@pytest.mark.long
async def test_kill_of_nginx(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    """systemd starts it again. Whichever is faster serves: this nginx, or the other edge."""
    async with Load(edges, crowd) as load:
        await asyncio.sleep(3)
        holder.run("systemctl kill --kill-who=main --signal=KILL nginx")
        seconds = await seconds_until(answers, edges)
        await asyncio.sleep(10)
    moved = "moved" if edges.holder() != holder.name else "stayed"
    record("kill -9 of nginx's master there", *load.figures(), seconds, f"{load.saw()}; the addresses {moved}")
    check_lost(load)


@pytest.mark.long
async def test_freeze_of_the_master(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    """The workers serve without it."""
    async with Load(edges, crowd) as load:
        holder.run("systemctl kill --kill-who=main --signal=STOP nginx")
        await asyncio.sleep(10)
        holder.run("systemctl kill --kill-who=main --signal=CONT nginx")
    record("nginx's master there is frozen for 10 s", *load.figures(), 0, load.saw())
    assert load.failed() == 0, load.report()
    assert edges.holder() == holder.name


@pytest.mark.long
async def test_freeze_of_nginx(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    async with Load(edges, crowd) as load:
        await asyncio.sleep(3)
        holder.run("systemctl kill --signal=STOP nginx")
        seconds = await seconds_until(answers, edges)
        assert edges.holder() != holder.name
        await asyncio.sleep(5)
        holder.run("systemctl kill --signal=CONT nginx")
        await asyncio.sleep(5)
    record("all of nginx there is frozen", *load.figures(), seconds, load.saw())
    assert edges.holder() != holder.name
    check_lost(load)


@pytest.mark.long
async def test_nothing_moves_in_a_release(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    before = moves(edges)
    edges.commit("Another release")
    async with Load(edges, crowd) as load:
        began = time.monotonic()
        done = [await make(edges, "restart", APP="nginx"), await make(edges, "deploy")]
        seconds = time.monotonic() - began
        await asyncio.sleep(3)
    for each in done:
        assert each.returncode == 0, each.stdout
    record("make restart APP=nginx, and make deploy", *load.figures(), seconds, load.saw())
    assert load.failed() == 0, load.report()
    assert (edges.holder(), moves(edges)) == (holder.name, before)


async def upgrade_under_load(
    stack: HostsStack,
    crowd: Crowd,
    record: Record,
    names: list[str],
    refusable: tuple[str, ...] = (),
    saw: Callable[[Load], str] = Load.saw,
) -> Load:
    """Upgrade the operating systems of these hosts, which each have a package to upgrade."""
    hosts = [stack.network[name] for name in names]
    for host in hosts:
        pend(host)
    before = {host.name: (version(host), host.boot_id()) for host in hosts}
    async with Load(stack, crowd, refusable) as load:
        began = time.monotonic()
        done = await make(stack, "upgrade-hosts", FORCE="yes")
        seconds = time.monotonic() - began
        await asyncio.sleep(3)
    assert done.returncode == 0, done.stdout
    print(done.stdout)
    record(f"make upgrade-hosts, {' '.join(names)}", *load.figures(), seconds, saw(load))
    for host in hosts:
        older, boot = before[host.name]
        assert version(host) == older + 1
        assert host.boot_id() != boot
    assert is_whole(stack)
    return load


@pytest.mark.long
async def test_upgrade_of_edges_and_app_hosts(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    names = [host.name for group in ("edge", "site") for host in edges.on(group)]
    load = await upgrade_under_load(edges, crowd, record, names)
    assert load.failed() == 0, load.report()
    up_to_date = edges.make("upgrade-hosts")
    assert up_to_date.returncode == 0
    assert "Every host is up to date" in up_to_date.stdout


@pytest.mark.long
async def test_upgrade_of_the_data_host(edges: HostsStack, crowd: Crowd, record: Record, holder: Host) -> None:
    """Clients get 503 with Retry-After until it is back. That is said before."""
    data = edges.first("data")
    pend(data)
    boot = data.boot_id()
    asked = edges.make("upgrade-hosts")
    assert asked.returncode
    assert re.search(r"data-1 +1 newer package\. It is the only host in data: visitors get 503", asked.stdout), (
        asked.stdout
    )
    assert "there is no terminal to ask" in asked.stdout
    assert data.boot_id() == boot
    load = await upgrade_under_load(edges, crowd, record, [data.name], refusable=GETS + POSTS)
    assert load.sum("refused") > 0


@pytest.mark.long
def test_a_failed_upgrade_ends_the_run(edges: HostsStack, holder: Host) -> None:
    first, second = edges.on("site")
    pend(first, then="exit 1")
    pend(second)
    boots = first.boot_id(), second.boot_id()
    done: subprocess.CompletedProcess[str] = edges.make("upgrade-hosts")
    assert done.returncode
    assert f"{first.name} is out of rotation, and the hosts after it were not touched" in done.stdout
    assert (first.boot_id(), second.boot_id()) == boots
    assert answers(edges)
    for host in (first, second):
        host.run("rm /etc/apt/sources.list.d/pending.list; dpkg --purge --force-all pending", check=False)
    first.reboot()
    wait_until_whole(edges)
