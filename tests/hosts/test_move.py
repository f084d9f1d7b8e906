"""The database moves from one VM to a cluster."""

import time

import pytest

from tests import people
from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.hosts.test_cluster import is_complete, run_sql, with_role
from tests.hosts.test_cluster_backup import wait_until
from tests.sample import write_by_api, write_on_site

pytestmark = pytest.mark.long

ROWS = "SELECT (SELECT count(*) FROM accounts_user), (SELECT count(*) FROM polls_vote)"
WRITABLE = (
    "ALTER DATABASE tandem RESET default_transaction_read_only",
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'tandem'",
)


def test_move_from_one_vm_to_a_cluster(hosts: HostsStack, seven: HostsStack, record: Record) -> None:
    """The cluster gets every row, over its own only with FORCE. The VM answers 503 to writes."""
    wait_until(is_complete, seven)
    voter, late = people.make(hosts, 2)
    with voter.client() as client:
        assert write_by_api(client).status_code == 201
    before = run_sql(hosts.network["vm"], ROWS)
    primary = with_role(seven, "Leader")
    assert run_sql(primary, ROWS) != before
    source = hosts.environment["INVENTORY"]
    refused = seven.make("move-data", FROM=source)
    assert refused.returncode != 0
    assert "has data already" in refused.stdout
    try:
        began = time.monotonic()
        moved = seven.make("move-data", FROM=source, FORCE="yes")
        seconds = time.monotonic() - began
        assert moved.returncode == 0, moved.stdout
        assert "every table has as many rows as before" in moved.stdout
        with late.client() as client:
            assert client.get("/").status_code == 200
            assert write_by_api(client).status_code == 503
            assert write_on_site(client).status_code == 503
    finally:
        for statement in WRITABLE:
            hosts.administer(statement)
    wait_until(is_complete, seven)
    assert {run_sql(host, ROWS) for host in seven.on("data")} == {before}
    with seven.client() as client:
        assert client.get("/questions/1/").status_code == 200
    with late.client() as client:
        assert write_by_api(client).status_code == 201
    record("make move-data, from one VM to a cluster", 0, 0, 0, seconds, before.strip())
