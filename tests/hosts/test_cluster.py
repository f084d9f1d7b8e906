"""The cluster of PostgreSQL on three hosts: it loses hosts, servers and the network, and switches over, under load.

In every test the load proves that no acknowledged vote is lost, and that each counts once.
"""

import asyncio
import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import GETS, POSTS, Load
from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.hosts.hosts import Host
from tests.hosts.stack import HostsStack
from tests.hosts.test_deploy import make
from tests.hosts.test_edges import upgrade_under_load
from tests.hosts.test_hosts_lost import is_whole
from tests.sample import Crowd

# Seconds in which writes have to return after a primary that lost its power. 20 of them are Patroni's `ttl`.
RETURN = 30
# And after one whose PostgreSQL died: Patroni notices that in its next check.
RETURN_AFTER_CRASH = 5


@pytest.fixture(scope="module")
def crowd(seven: HostsStack) -> Iterator[Crowd]:
    yield from gather_crowd(seven)


def gather_crowd(seven: HostsStack) -> Iterator[Crowd]:
    """Clients connect to the virtual address."""
    seven.entry = seven.virtual_addresses[0]
    yield Crowd.gather(seven)
    seven.entry = ""


def members(stack: HostsStack) -> dict[str, dict[str, Any]]:
    """Return Patroni's members of the cluster by host."""
    host = next(host for host in stack.on("data") if host.booted)
    listed = host.run("patronictl --config-file /etc/patroni/config.yml list --format json").stdout
    return {member["Member"]: member for member in json.loads(listed)}


def run_sql(host: Host, statement: str) -> str:
    options = ["--no-psqlrc", "-At", "--set=ON_ERROR_STOP=1", "--dbname=tandem"]
    command = ["psql", *options, "--command", statement]
    return host.run(f"cd / && {shlex.join(command)}", user="postgres").stdout


def with_role(stack: HostsStack, role: str) -> Host:
    [name] = [name for name, member in members(stack).items() if member["Role"] == role]
    return stack.network[name]


def is_complete(stack: HostsStack) -> bool:
    """Return whether the cluster has a primary and two standbys without a lag, and every service is ready."""
    try:
        found = members(stack)
    except AssertionError:
        # etcd does not answer.
        return False
    roles = sorted(member["Role"] for member in found.values())
    return (
        roles == ["Leader", "Replica", "Sync Standby"]
        and {member["State"] for member in found.values()} <= {"running", "streaming"}
        and not any(member.get("Lag in MB") for member in found.values())
        and len({member.get("TL") for member in found.values()}) == 1
        and is_whole(stack)
    )


def pause(load: Load) -> float:
    """Return the longest time in seconds without an acknowledged write of the api."""
    return max(later - earlier for earlier, later in pairwise(sorted(load.counted.values())))


def saw(load: Load) -> str:
    """Return what clients saw, for the table."""
    return f"no write for {pause(load):.1f} s; {load.saw()}"


def lead_etcd(stack: HostsStack, host: Host) -> None:
    """Make the etcd of a host the leader. Its successor renews all leases, so that they end later."""
    endpoints = ",".join(f"http://{each.address}:2379" for each in stack.on("data"))
    etcdctl = f"ETCDCTL_API=3 etcdctl --endpoints={endpoints}"
    host.run(f"{etcdctl} move-leader $({etcdctl} member list | grep ', {host.name},' | cut --delimiter=, --fields=1)")


async def wait_until_complete(stack: HostsStack) -> float:
    return await seconds_until(is_complete, stack, limit=180)


async def test_the_primary_loses_power(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """Another host becomes the primary. Clients get 503 with Retry-After until then. The lost host rejoins."""
    host = with_role(seven, "Leader")
    lead_etcd(seven, host)
    async with Load(seven, crowd, refusable=GETS + POSTS) as load:
        await asyncio.sleep(5)
        await asyncio.to_thread(host.power_off)
        await asyncio.sleep(RETURN + 5)
        await asyncio.to_thread(host.power_on)
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("the primary loses power", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert pause(load) < RETURN
    assert with_role(seven, "Leader").name != host.name


@pytest.mark.long
@pytest.mark.parametrize("role", ["Sync Standby", "Replica"])
async def test_a_standby_loses_power(seven: HostsStack, crowd: Crowd, record: Record, role: str) -> None:
    """No request fails. Writes wait until Patroni chooses the other standby."""
    host = with_role(seven, role)
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.power_off)
        await asyncio.sleep(15)
        await asyncio.to_thread(host.power_on)
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    which = "the synchronous standby" if role == "Sync Standby" else "the other standby"
    record(f"{which} loses power", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()


@pytest.mark.long
async def test_postgresql_on_the_primary_is_killed(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """The synchronous standby becomes the primary, and the killed server its standby."""
    host = with_role(seven, "Leader")
    async with Load(seven, crowd, refusable=GETS + POSTS) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.run, "kill -9 $(head -1 /var/lib/postgresql/*/main/postmaster.pid)")
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("kill -9 of PostgreSQL on the primary", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert pause(load) < RETURN_AFTER_CRASH
    assert with_role(seven, "Leader").name != host.name


@pytest.mark.long
async def test_etcd_loses_its_quorum(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """The primary continues, because it reaches Patroni on the other data hosts."""
    host = with_role(seven, "Leader")
    others = [other for other in seven.on("data") if other is not host]
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        for other in others:
            await asyncio.to_thread(other.run, "systemctl stop etcd")
        # Longer than `ttl`.
        await asyncio.sleep(RETURN)
        for other in others:
            await asyncio.to_thread(other.run, "systemctl start etcd")
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record(f"etcd stops on two of three hosts for {RETURN} s", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert with_role(seven, "Leader").name == host.name


@pytest.mark.long
async def test_two_data_hosts_lose_power(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """Clients get 503 with Retry-After until one returns, and 504 for a vote that waits longer than harakiri."""
    host = with_role(seven, "Leader")
    others = [other for other in seven.on("data") if other is not host]
    # Watchers would give up: they hear of no vote for longer than PATIENCE.
    async with Load(seven, crowd, refusable=GETS + POSTS, watchers=0) as load:
        await asyncio.sleep(3)
        for other in others:
            await asyncio.to_thread(other.power_off)
        await asyncio.sleep(RETURN)
        for other in others:
            await asyncio.to_thread(other.power_on)
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record(f"two of three data hosts lose power for {RETURN} s", *load.figures(), seconds, saw(load))
    assert load.failed(GETS) == 0, load.report()
    assert load.sum("refused") > 0


@pytest.mark.long
async def test_the_primary_freezes(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """As a VM in a pause of its hypervisor: it still believes that it is the primary when it goes on."""
    host = with_role(seven, "Leader")
    async with Load(seven, crowd, refusable=GETS + POSTS, watchers=0) as load:
        await asyncio.sleep(3)
        (host.cgroup / "cgroup.freeze").write_text("1")
        await asyncio.sleep(RETURN + 5)
        (host.cgroup / "cgroup.freeze").write_text("0")
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record(f"the primary is frozen for {RETURN + 5} s", *load.figures(), seconds, saw(load))
    assert with_role(seven, "Leader").name != host.name


@pytest.mark.long
async def test_switchover(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """No request fails: those that meet no primary wait for it."""
    host = with_role(seven, "Leader")
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        began = time.monotonic()
        done = await make(seven, "switchover")
        seconds = time.monotonic() - began
        await wait_until_complete(seven)
        await asyncio.sleep(3)
    assert done.returncode == 0, done.stdout
    record("make switchover", *load.figures(), seconds, saw(load))
    assert load.failed(GETS) == 0, load.report()
    assert with_role(seven, "Leader").name != host.name


@pytest.mark.long
async def test_the_primary_is_drained_and_returns(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    host = with_role(seven, "Leader")
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        began = time.monotonic()
        done = await make(seven, "drain", HOST=host.name)
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout
        # As for an upgrade of the operating system.
        await asyncio.to_thread(host.reboot)
        await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("make drain of the primary, reboot", *load.figures(), seconds, saw(load))
    assert load.failed(GETS) == 0, load.report()
    assert with_role(seven, "Leader").name != host.name


@pytest.mark.long
async def test_upgrade_of_all_hosts(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """Each host drains, upgrades and reboots, without a question. The primary changes once."""
    timeline = members(seven)["data-1"]["TL"]
    load = await upgrade_under_load(seven, crowd, record, [host.name for host in seven.network], saw=saw)
    assert load.failed(GETS) == 0, load.report()
    assert is_complete(seven)
    assert members(seven)["data-1"]["TL"] == timeline + 1


@pytest.mark.long
async def test_a_lost_data_host_is_replaced(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """`make provision` makes an empty host in its place a standby and a member of etcd."""
    # The first data host also has Redis.
    host = next(host for host in seven.on("data")[1:] if host is not with_role(seven, "Leader"))
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.power_off)
        await asyncio.to_thread(host.replace)
        began = time.monotonic()
        for target in ("provision", "deploy"):
            done = await make(seven, target)
            assert done.returncode == 0, done.stdout
        await wait_until_complete(seven)
        seconds = time.monotonic() - began
        await asyncio.sleep(3)
    record("a lost data host is replaced", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()


@contextmanager
def cut_off(host: Host, others: list[Host]) -> Iterator[None]:
    """For the block, no packet passes between a host and others."""
    addresses = ", ".join(other.address for other in others)
    rules = f"""
        table inet cut {{
            chain input {{ type filter hook input priority -10; ip saddr {{ {addresses} }} drop; }}
            chain output {{ type filter hook output priority -10; ip daddr {{ {addresses} }} drop; }}
        }}
    """
    host.run("nft --file -", input=rules)
    try:
        yield
    finally:
        host.run("nft delete table inet cut")


@pytest.mark.long
async def test_the_primary_is_cut_off_from_the_others(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """For 60 s the apps reach both sides. One server at a time acknowledges writes, and no such write is lost."""
    host = with_role(seven, "Leader")
    data = seven.on("data")
    run_sql(host, "DROP TABLE IF EXISTS writers")
    run_sql(host, "SET ROLE tandem; CREATE TABLE writers (number bigint)")
    addresses = [each.address for each in data]
    write = ["/srv/app/current/.venv/bin/python", "-", "75", *addresses]
    script = (Path(__file__).parent / "writers.py").read_text()
    async with Load(seven, crowd, refusable=GETS + POSTS) as load:
        writing = asyncio.create_task(asyncio.to_thread(seven.network["app-1"].run, shlex.join(write), input=script))
        await asyncio.sleep(8)
        with cut_off(host, [other for other in data if other is not host]):
            await asyncio.sleep(60)
        seconds = await wait_until_complete(seven)
        acknowledged = json.loads((await writing).stdout)
    primary = with_role(seven, "Leader")
    found = run_sql(primary, "SELECT number FROM writers").split()
    run_sql(primary, "DROP TABLE writers")
    note = f"{len(acknowledged)} rows of writers on both sides; {saw(load)}"
    record("the primary is cut off from the other data hosts for 60 s", *load.figures(), seconds, note)
    in_turn = [address for address, _ in groupby(sorted(acknowledged, key=lambda row: row[2]), key=lambda row: row[0])]
    assert in_turn == [host.address, primary.address]
    assert {number for _, number, _ in acknowledged} <= {*map(int, found)}
    assert load.failed() == 0, load.report()
    assert pause(load) < RETURN
