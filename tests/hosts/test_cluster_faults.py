"""The cluster of PostgreSQL with a standby that was away, and with a slow disk, under load.

In every test the load proves that no acknowledged vote is lost, and that each counts once.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.chaos.load import Load
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


async def test_slow_disk_of_the_primary(seven: HostsStack, crowd: Crowd, record: Record) -> None:
    """Each fsync of PostgreSQL and of etcd, which it leads, takes half a second longer. The host stays the primary."""
    host = with_role(seven, "Leader")
    lead_etcd(seven, host)
    host.run("apt-get install --yes --no-install-recommends strace")
    programs = ("postgres", "etcd")
    delay = "--trace=fsync,fdatasync --inject=fsync,fdatasync:delay_enter=500ms"
    async with Load(seven, crowd) as load:
        await asyncio.sleep(3)
        for program in programs:
            start = f"systemd-run --unit=slow-{program} strace --follow-forks {delay} --output=/run/slow-{program}"
            await asyncio.to_thread(host.run, f'{start} --attach="$(pidof {program})"')
        await asyncio.sleep(RETURN)
        for program in programs:
            await asyncio.to_thread(host.run, f"systemctl stop slow-{program}")
        seconds = await wait_until_complete(seven)
        await asyncio.sleep(3)
    delayed = {program: int(host.run(f"grep --count DELAYED /run/slow-{program}").stdout) for program in programs}
    note = ", ".join(f"{number} of {program}" for program, number in delayed.items())
    record(f"the primary's disk is 0.5 s slower for {RETURN} s", *load.figures(), seconds, f"{note}; {saw(load)}")
    assert load.failed() == 0, load.report()
    assert with_role(seven, "Leader") is host
    assert min(delayed.values()) > 10
    assert pause(load) < RETURN_AFTER_CRASH
