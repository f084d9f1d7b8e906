"""The cluster of PostgreSQL with a standby that was away, a slow or full disk, and a clock that jumps, under load.

In every test the load proves that no acknowledged vote is lost, and that each counts once.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.chaos.load import GETS, POSTS, Load
from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.hosts.hosts import Host
from tests.hosts.stack import HostsStack
from tests.hosts.test_cluster import (
    RETURN,
    RETURN_AFTER_CRASH,
    gather_crowd,
    lead_etcd,
    pause,
    run_sql,
    saw,
    wait_until_complete,
    with_role,
)
from tests.hosts.test_deploy import make
from tests.sample import Crowd

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def crowd(seven: HostsStack) -> Iterator[Crowd]:
    yield from gather_crowd(seven)


# 350 MB of WAL. Returns the file with its end.
WRITE_WAL = """
    SELECT pg_walfile_name(max(pg_logical_emit_message(false, '', repeat('x', 1000000)))) FROM generate_series(1, 350)
"""


def has_archived(host: Host, file: str) -> bool:
    """Return whether the primary needs its WAL until this file for standbys only."""
    return run_sql(host, "SELECT last_archived_wal FROM pg_stat_archiver").strip() >= file


async def test_a_standby_that_was_away_catches_up(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """It gets the WAL that it lacks, and does not copy all data."""
    primary, host = with_role(seven, "Leader"), with_role(seven, "Replica")
    # A copy of all data creates this file again.
    age = "stat --format='%i %W %Y' /var/lib/postgresql/*/main/PG_VERSION"
    before = host.run(age).stdout
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.power_off)
        # Patroni forgets it after 20 s, and on Debian 12 the WAL that it lacks.
        await asyncio.sleep(RETURN)
        file = (await asyncio.to_thread(run_sql, primary, WRITE_WAL)).strip()
        await asyncio.to_thread(run_sql, primary, "SELECT pg_switch_wal()")
        await seconds_until(has_archived, primary, file, limit=300)
        # It removes WAL.
        await asyncio.to_thread(run_sql, primary, "CHECKPOINT")
        await asyncio.to_thread(host.power_on)
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("a standby was away for 350 MB of WAL", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert host.run(age).stdout == before


def start_strace(host: Host, unit: str, program: str, options: str) -> None:
    """Inject faults into the system calls of a program, and of the processes that it starts."""
    host.run("apt-get install --yes --no-install-recommends strace")
    strace = f'strace --follow-forks {options} --output=/run/{unit} --attach="$(pidof {program})"'
    host.run(f"systemd-run --unit={unit} {strace}")


def injected(host: Host, unit: str, fault: str) -> int:
    """Return the number of faults."""
    return int(host.run(f"grep --count {fault} /run/{unit}").stdout)


async def test_slow_disk_of_the_primary(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """Each fsync of PostgreSQL and of etcd, which it leads, takes half a second longer. The host stays the primary."""
    host = with_role(seven, "Leader")
    lead_etcd(seven, host)
    programs = ("postgres", "etcd")
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        for program in programs:
            delay = "--trace=fsync,fdatasync --inject=fsync,fdatasync:delay_enter=500ms"
            await asyncio.to_thread(start_strace, host, f"slow-{program}", program, delay)
        await asyncio.sleep(RETURN)
        for program in programs:
            await asyncio.to_thread(host.run, f"systemctl stop slow-{program}")
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    delayed = {program: injected(host, f"slow-{program}", "DELAYED") for program in programs}
    note = ", ".join(f"{number} of {program}" for program, number in delayed.items())
    record(f"the primary's disk is 0.5 s slower for {RETURN} s", *load.figures(), seconds, f"{note}; {saw(load)}")
    assert load.failed() == 0, load.report()
    assert with_role(seven, "Leader") is host
    assert min(delayed.values()) > 10
    assert pause(load) < RETURN_AFTER_CRASH


def follows(stack: HostsStack, former: Host) -> bool:
    """Return whether another host is the primary."""
    try:
        return with_role(stack, "Leader") is not former
    except (AssertionError, ValueError):
        return False


async def test_full_disk_of_the_primary(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """PostgreSQL stops when it cannot write, as after a crash. The former primary returns when its disk has room."""
    host = with_role(seven, "Leader")
    full = "--trace=pwrite64,pwritev --inject=pwrite64,pwritev:error=ENOSPC"
    async with Load(seven, crowd, refusable=GETS + POSTS) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(start_strace, host, "full-disk", "postgres", full)
        await seconds_until(follows, seven, host)
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("the primary's disk is full", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert injected(host, "full-disk", "ENOSPC") > 0
    assert pause(load) < RETURN


CLOCK = "/run/postgresql/clock"
PATRONI = "/run/systemd/system/patroni.service.d"
# The monotonic clock does not jump on a real host either.
JUMPING = f"""[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME_TIMESTAMP_FILE={CLOCK}
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1
"""


async def restart_patroni(stack: HostsStack, host: Host) -> None:
    host.run("systemctl daemon-reload && systemctl restart patroni")
    await wait_until_complete(stack)


async def test_the_clock_of_the_primary_jumps(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """By an hour and back, for PostgreSQL and Patroni. libfaketime cannot change it for etcd, which uses no libc."""
    standbys = [host for host in seven.on("data") if host is not with_role(seven, "Leader")]
    for host in standbys:
        host.run("apt-get install --yes --no-install-recommends libfaketime")
        host.run(f"echo +0 >{CLOCK} && mkdir -p {PATRONI} && cat >{PATRONI}/clock.conf", input=JUMPING)
        await restart_patroni(seven, host)
    assert (await make(seven, "switchover")).returncode == 0
    await wait_until_complete(seven)
    primary = with_role(seven, "Leader")
    clocks = []
    async with Load(seven, crowd) as load:
        for offset in ("+0", "+1h", "+0"):
            await asyncio.to_thread(primary.run, f"echo {offset} >{CLOCK}")
            await asyncio.sleep(15)
            said = await asyncio.to_thread(run_sql, primary, "SELECT extract(epoch FROM clock_timestamp())")
            clocks.append(float(said) - time.time())
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    record("the primary's clock jumps by an hour and back", *load.figures(), seconds, saw(load))
    assert load.failed() == 0, load.report()
    assert with_role(seven, "Leader") is primary
    assert [round(clock / 3600) for clock in clocks] == [0, 1, 0]
    assert pause(load) < RETURN_AFTER_CRASH
    for host in standbys:
        host.run(f"rm {PATRONI}/clock.conf")
        await restart_patroni(seven, host)
