"""`make move-data`: the database of one VM moves to the cluster of seven hosts."""

import asyncio
import time

import pytest

from tests.chaos.load import Load
from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.hosts.test_cluster import run_sql, with_role
from tests.sample import PAGE, Crowd, write_by_api

pytestmark = pytest.mark.long


async def test_move_to_a_cluster(hosts: HostsStack, seven: HostsStack, record: Record) -> None:
    """The cluster has each vote. The old host serves reads and refuses votes."""
    crowd = Crowd.gather(hosts)
    async with Load(hosts, crowd) as load:
        await asyncio.sleep(5)
    source = hosts.environment["INVENTORY"]
    assert "has data already" in seven.make("move-data", FROM=source).stdout

    # A copy that fails leaves both as they were.
    primary = with_role(seven, "Leader")
    run_sql(primary, "CREATE VIEW dependent AS SELECT FROM polls_question")
    failed = seven.make("move-data", FROM=source, FORCE="yes")
    run_sql(primary, "DROP VIEW dependent")
    assert failed.returncode
    with crowd.people[0].client() as client:
        assert write_by_api(client).status_code == 201

    try:
        began = time.monotonic()
        moved = seven.make("move-data", FROM=source, FORCE="yes")
        seconds = time.monotonic() - began
        assert moved.returncode == 0, moved.stdout
        with crowd.people[1].client() as client:
            refused = write_by_api(client)
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
            assert client.get(PAGE).status_code == 200
    finally:
        hosts.administer("ALTER DATABASE tandem RESET default_transaction_read_only")
        hosts.administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres'")
    # It reads the votes from the cluster.
    load.stack = seven
    await load.settle()
    Crowd.gather(seven)
    record("make move-data from one-vm to seven-hosts", *load.figures(), seconds, f"{len(load.acknowledged)} votes")
