"""The database moves from one VM to a cluster."""

import time

import httpx
import pytest

from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.hosts.test_cluster import is_complete, run_sql, with_role
from tests.hosts.test_cluster_backup import wait_until
from tests.sample import Crowd, Write

pytestmark = pytest.mark.long

# Names of people are random.
ROWS = """
    SELECT (SELECT md5(string_agg(username, ',' ORDER BY id)) FROM accounts_user), (SELECT count(*) FROM polls_vote)
"""
WRITABLE = (
    "ALTER DATABASE tandem RESET default_transaction_read_only",
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'tandem'",
)


def vote(client: httpx.Client, write: Write, kind: str = "api write") -> int:
    """Return the status of the response."""
    path, headers, body = write.request(kind)
    return client.post(path, headers=headers, content=body).status_code


def test_move_from_one_vm_to_a_cluster(hosts: HostsStack, seven: HostsStack, record: Record) -> None:
    """The cluster gets every row, over its own only with FORCE. The VM answers 503 to writes."""
    wait_until(is_complete, seven)
    writes = Crowd.gather(hosts).writes()
    with hosts.client() as client:
        assert vote(client, next(writes)) == 201
    before = run_sql(hosts.network["vm"], ROWS)
    assert run_sql(with_role(seven, "Leader"), ROWS) != before
    source = hosts.environment["INVENTORY"]
    refused = seven.make("move-data", FROM=source)
    assert refused.returncode != 0
    assert "has data already" in refused.stdout
    write = next(writes)
    try:
        began = time.monotonic()
        moved = seven.make("move-data", FROM=source, FORCE="yes")
        seconds = time.monotonic() - began
        assert moved.returncode == 0, moved.stdout
        assert "every table has as many rows as before" in moved.stdout
        # Django compares it on a form.
        with hosts.client(headers={"Origin": hosts.url}) as client:
            assert client.get(write.subject.page).status_code == 200
            assert {vote(client, write, kind) for kind in ("api write", "site write")} == {503}
    finally:
        for statement in WRITABLE:
            hosts.administer(statement)
    wait_until(is_complete, seven)
    assert {run_sql(host, ROWS) for host in seven.on("data")} == {before}
    with seven.client() as client:
        assert client.get(write.subject.page).status_code == 200
    with hosts.client() as client:
        assert vote(client, write) == 201
    record("make move-data, from one VM to a cluster", 0, 0, 0, seconds, "every row")
