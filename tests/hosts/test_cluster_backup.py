"""Backups of the cluster of PostgreSQL: after a failover, after a mistake, and on new hosts after the loss of all."""

import asyncio
import json
import re
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.hosts.hosts import Host
from tests.hosts.stack import HostsStack
from tests.hosts.test_cluster import is_complete, members, run_sql, with_role
from tests.hosts.test_data import add_people, now
from tests.hosts.test_provision import CONNECT, open_to
from tests.hosts.test_provision import test_a_second_run_changes_nothing as check_provision

pytestmark = pytest.mark.long

PEOPLE = "SELECT count(*) FROM accounts_user"
# What add_people() adds.
THEIR_DELETE = "DELETE FROM accounts_user WHERE username ~ '^[0-9a-f]{32}$'"
# Seconds: archive_timeout, and the way to the bucket on a busy machine.
RECOVERY_POINT = 60 + 15
# Of its server, which sends the files of a standby. pgBackRest's default.
PGBACKREST_PORT = 8432


def holds(fact: Callable[..., bool], *arguments: object) -> bool:
    """Return whether a fact holds. A host that has just booted may not know."""
    with suppress(AssertionError):
        return fact(*arguments)
    return False


def wait_until(fact: Callable[..., bool], *arguments: object) -> float:
    return asyncio.run(seconds_until(holds, fact, *arguments, limit=180))


def make(stack: HostsStack, target: str, **variables: str) -> str:
    done = stack.make(target, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def newest_backup(host: Host) -> dict[str, dict[str, str]]:
    said = host.run("cd / && pgbackrest --stanza=main --output=json info", user="postgres").stdout
    newest: dict[str, dict[str, str]] = json.loads(said)[0]["backup"][-1]
    return newest


def has_primary_beside(stack: HostsStack, lost: Host) -> bool:
    return any(name != lost.name and member["Role"] == "Leader" for name, member in members(stack).items())


def test_backups_go_on_after_a_failover(seven: HostsStack, record: Record) -> None:
    """The new primary archives, makes a backup when it checks, and is in the fleet's table. The others do nothing."""
    assert "MB new" in make(seven, "backup")
    former = with_role(seven, "Leader")
    former.power_off()
    seconds = wait_until(has_primary_beside, seven, former)
    primary = with_role(seven, "Leader")
    primary.run("systemctl start tandem-backup@check")
    timeline = run_sql(primary, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)").strip()
    assert newest_backup(primary)["archive"]["stop"].startswith(timeline)
    primary.run("cd / && pgbackrest --stanza=main check", user="postgres")
    former.power_on()
    wait_until(is_complete, seven)
    for host in seven.on("data"):
        host.run("systemctl start tandem-backup@check")
        assert host.run("test -e /var/lib/data-backup/state.json", check=False).returncode == int(host is not primary)
    said = former.run("journalctl --unit=tandem-backup@check --output=cat").stdout
    assert "this host is a standby" in said
    rows = [line.split() for line in make(seven, "fleet").splitlines()]
    assert {row[0]: "archive" in row for row in rows if row and row[0].startswith("data-")} == {
        host.name: host is primary for host in seven.on("data")
    }
    # The third host has a part of the segment that the former primary archived when it returned.
    make(seven, "switchover")
    wait_until(is_complete, seven)
    for _ in range(3):
        make(seven, "backup")
    record("the primary loses power: the archive goes on", 0, 0, 0, seconds, "and the new primary makes a backup")


def back_up(host: Host) -> tuple[str, list[str]]:
    """Return the output of a backup, and for each file of a table the address it came from: empty if the host's own."""
    log = "/run/postgresql/log"
    host.run(f"rm -rf {log} && install --directory --owner=postgres {log}")
    detailed = f"PGBACKREST_LOG_PATH={log} PGBACKREST_LOG_LEVEL_FILE=detail"
    said = host.run(f"cd / && {detailed} data-backup all", user="postgres").stdout
    # "backup file 10.77.1.16:/var/lib/postgresql/15/main/base/5/1259 (112KB, 4.5%)"
    copied = re.findall(r"backup file (?:([\d.]+):)?/\S+/base/", host.run(f"cat {log}/*").stdout)
    return said, copied


def test_the_files_come_from_a_standby(seven: HostsStack) -> None:
    """If no standby can be read, they come from the primary, and the backup says so."""
    primary = with_role(seven, "Leader")
    others = [host for host in seven.on("data") if host is not primary]
    add_people(seven, 5)
    said, copied = back_up(primary)
    assert "No standby" not in said
    assert copied
    assert {*copied} <= {host.address for host in others}
    for host in others:
        host.run("systemctl stop pgbackrest")
    try:
        add_people(seven, 5)
        said, copied = back_up(primary)
    finally:
        for host in others:
            host.run("systemctl start pgbackrest")
    assert "No standby can be read, so the primary is" in said
    assert {*copied} == {""}


def test_only_the_data_hosts_reach_the_server_of_pgbackrest(seven: HostsStack) -> None:
    host, other, _ = seven.on("data")
    assert open_to(host.address, {PGBACKREST_PORT}) == set()
    connect = f"python3 -c {shlex.quote(CONNECT)} {host.address} {PGBACKREST_PORT}"
    reached = {name: seven.network[name].run(connect, check=False).returncode == 0 for name in ("edge-1", "app-1")}
    assert reached == {"edge-1": False, "app-1": False}
    other.run(connect)


def test_a_switchover_during_a_backup(seven: HostsStack) -> None:
    """`make backup` fails, but no unit: the new primary makes a backup when it checks."""
    former = with_role(seven, "Leader")
    unit = "tandem-backup@all"
    with ThreadPoolExecutor() as pool:
        making = pool.submit(seven.make, "backup")
        asyncio.run(seconds_until(is_in, former, unit, "pgbackrest"))
        former.run(f"systemctl kill --signal=STOP {unit}")
        make(seven, "switchover")
        former.run(f"systemctl kill --signal=CONT {unit}")
        made = making.result()
    assert made.returncode != 0
    assert "Another host became the primary" in made.stdout
    wait_until(is_complete, seven)
    assert unit not in former.run("systemctl --failed").stdout
    primary = with_role(seven, "Leader")
    assert primary is not former
    before = newest_backup(primary)
    primary.run("systemctl start tandem-backup@check")
    assert newest_backup(primary) != before


def is_in(host: Host, unit: str, program: str) -> bool:
    """Return whether a unit runs a program."""
    return program in host.run(f"systemd-cgls --no-pager --unit {unit}.service", check=False).stdout


def test_a_wrong_delete_is_undone(seven: HostsStack, record: Record) -> None:
    """Over live data only with FORCE. The standbys follow the restored primary, and the next backup is of it."""
    assert "MB new" in make(seven, "backup")
    add_people(seven, 5)
    primary = with_role(seven, "Leader")
    before = run_sql(primary, PEOPLE)
    drill = make(seven, "restore-drill")
    assert "public.accounts_user" in drill
    assert "DIFFERENT" not in drill
    to = now()
    run_sql(primary, THEIR_DELETE)
    assert run_sql(primary, PEOPLE) != before
    refused = seven.make("restore")
    assert refused.returncode != 0
    assert "is live" in refused.stdout
    began = time.monotonic()
    make(seven, "restore", FORCE="yes", TO=to)
    seconds = time.monotonic() - began
    wait_until(is_complete, seven)
    assert {run_sql(host, PEOPLE) for host in seven.on("data")} == {before}
    assert "MB new" in make(seven, "backup")
    record("a wrong DELETE, make restore TO=…", 0, 0, 0, seconds, f"{before.strip()} rows, as the second before")


def test_a_restore_that_does_not_start_changes_nothing(seven: HostsStack) -> None:
    """The previous data come back on all hosts."""
    make(seven, "backup")
    add_people(seven, 5)
    primary = with_role(seven, "Leader")
    before = run_sql(primary, PEOPLE)
    program = "/usr/local/sbin/data-backup"
    # Between `restore` and `exchange`.
    fault = 'rm "$(ls -d /var/lib/postgresql/*/main.restored)/global/pg_control"'
    primary.run(f"mv {program} {program}.own")
    script = f'#!/bin/sh\n[ "$1" = exchange ] && {fault}\nexec {program}.own "$@"\n'
    primary.run(f"cat >{program} && chmod 755 {program}", input=script)
    try:
        failed = seven.make("restore", FORCE="yes")
    finally:
        primary.run(f"mv {program}.own {program}")
    assert failed.returncode != 0
    assert "The database is the one from before" in failed.stdout
    wait_until(is_complete, seven)
    assert {run_sql(host, PEOPLE) for host in seven.on("data")} == {before}


def test_all_data_hosts_are_lost(seven: HostsStack, record: Record) -> None:
    """New hosts get everything from the bucket but the rows of the recovery point."""
    make(seven, "backup")
    run_sql(with_role(seven, "Leader"), "SET ROLE tandem; CREATE TABLE writers (number bigint)")
    data = seven.on("data")
    # Some of their writes are in the archive, and some are not.
    write = ["/srv/app/current/.venv/bin/python", "-", "90", *(host.address for host in data)]
    script = (Path(__file__).parent / "writers.py").read_text()
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(seven.network["app-1"].run, shlex.join(write), input=script)
        time.sleep(80)
        for host in data:
            host.power_off()
        acknowledged = json.loads(writing.result().stdout)
    for host in data:
        shutil.rmtree(host.directory)
        host.make()
        host.boot()
    for host in data:
        host.wait()
    began = time.monotonic()
    assert "BACKUP_URL has the backups of another database" in make(seven, "provision")
    provisioned = time.monotonic() - began
    make(seven, "restore")
    restored = time.monotonic() - began
    make(seven, "deploy")
    wait_until(is_complete, seven)
    seconds = time.monotonic() - began
    found = {*map(int, run_sql(with_role(seven, "Leader"), "SELECT number FROM writers").split())}
    lost = [when for _, number, when in acknowledged if number not in found]
    lost_seconds = max(lost) - min(lost) if lost else 0
    note = (
        f"{len(lost)} of {len(acknowledged)} acknowledged rows lost, those of the last {lost_seconds:.0f} s; "
        f"provision {provisioned:.0f} s, restore {restored - provisioned:.0f} s, deploy {seconds - restored:.0f} s"
    )
    record("all data hosts are destroyed", len(acknowledged), len(lost), 0, seconds, note)
    assert found
    assert lost_seconds <= RECOVERY_POINT
    run_sql(with_role(seven, "Leader"), "DROP TABLE writers")
    check_provision(seven)
