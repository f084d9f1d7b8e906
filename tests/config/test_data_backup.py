"""Backups of a data host by pgBackRest and restic: on a private PostgreSQL, in a bucket over TLS."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from deploy.ansible.roles.data.files import data_backup
from deploy.ansible.roles.data.files.data_backup import DATABASE
from deploy.core import backups
from deploy.core.console import output
from tests.backup_bucket import Bucket, backup_bucket
from tests.servers import AS_POSTGRES, free_port, program

pytestmark = pytest.mark.slow

PASSWORD = "password-of-these-tests"
FIRST_DATA = """
CREATE TABLE orders (id bigserial PRIMARY KEY, text text, made timestamptz DEFAULT now());
INSERT INTO orders (text) SELECT 'number ' || n FROM generate_series(1, 1000) n;
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    for name in ("pgbackrest", "restic"):
        program(name, name)
    directory = tmp_path_factory.mktemp("bucket")
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    with backup_bucket(directory) as made:
        yield made


class Data:
    """A cluster that archives to a bucket, and uploads."""

    def __init__(self, directory: Path, bucket: Bucket, prefix: str) -> None:
        self.directory, self.bucket, self.prefix = directory, bucket, prefix
        self.port = free_port()
        self.version = output(program("postgres", "postgresql"), "--version").split()[2].partition(".")[0]
        self.data = directory / self.version / "main"
        self.media = directory / "media"
        for path in (self.media, directory / "state"):
            path.mkdir()
        self.data.parent.mkdir()
        self.configure(f"{bucket.url}/{prefix}")

    def configure(self, url: str, password: str = PASSWORD) -> None:
        options = backups.pgbackrest_options(url, password, 30, str(self.bucket.authority))
        options |= {"repo1-bundle": "y", "start-fast": "y", "log-level-file": "off", "log-level-console": "warn"}
        options |= {"lock-path": str(self.directory / "lock"), "spool-path": str(self.directory / "spool")}
        options["compress-type"] = "zst"
        lines = [f"{name}={value}" for name, value in options.items()]
        stanza = f"[main]\npg1-path={self.data}\npg1-socket-path={self.directory}\npg1-port={self.port}\n"
        (self.directory / "pgbackrest.conf").write_text("\n".join(["[global]", *lines, stanza]))
        restic = backups.restic_environment(url, password, str(self.bucket.authority))
        restic |= {"DAYS": "30", "UPLOADS": str(self.media), "UNIT": f"postgresql@{self.version}-main"}
        (self.directory / "settings").write_text("".join(f"{name}={value}\n" for name, value in restic.items()))

    def start(self, first_data: str = FIRST_DATA) -> None:
        push = f"pgbackrest --config={self.directory}/pgbackrest.conf --stanza=main archive-push %p"
        own = {"archive_mode": "on", "archive_command": push, "archive_timeout": "60", "listen_addresses": ""}
        own |= {"unix_socket_directories": str(self.directory), "port": str(self.port)}
        initdb = [
            program("initdb", "postgresql"),
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
        ]
        self.run([*initdb, f"--pgdata={self.data}"])
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in own.items())
        self.pg_ctl("start")
        self.run([program("createdb", "postgresql"), "--host", str(self.directory), "--port", str(self.port), "-U",
                  "postgres", DATABASE])  # fmt: skip
        self.sql(first_data)

    def run(self, command: list[str]) -> None:
        subprocess.run([*AS_POSTGRES, *command], check=True, capture_output=True, cwd="/")

    def pg_ctl(self, verb: str) -> None:
        command = [program("pg_ctl", "postgresql"), f"--pgdata={self.data}", "--wait", f"--log={self.directory}/log"]
        self.run([*command, *(["--mode=immediate"] if verb == "stop" else []), verb])

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        where = f"host={self.directory} port={self.port} user=postgres dbname={DATABASE}"
        with psycopg.connect(where) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def orders(self) -> list[str]:
        return [str(text) for (text,) in self.sql("SELECT text FROM orders ORDER BY id")]

    def add(self, text: str) -> None:
        self.sql(f"INSERT INTO orders (text) VALUES ('{text}')")  # noqa: S608


SYSTEMCTL = """#!/bin/sh
case "$1 $2" in
"stop postgresql"*|"start postgresql"*) {pg_ctl} --pgdata={data} --wait --log={log} "$1" ;;
esac
echo "$@" >>{directory}/systemctl
"""


@pytest.fixture
def data(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Data]:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    made = Data(tmp_path, bucket, tmp_path.name)
    if AS_POSTGRES:
        subprocess.run(["chown", "-R", "postgres", str(tmp_path)], check=True)
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    pg_ctl = " ".join([*AS_POSTGRES, program("pg_ctl", "postgresql")])
    systemctl.write_text(SYSTEMCTL.format(pg_ctl=pg_ctl, data=made.data, log=log, directory=tmp_path))
    systemctl.chmod(0o755)
    for name, value in {
        "PATH": os.pathsep.join(
            [str(tmp_path / "bin"), str(Path(program("psql", "postgresql")).parent), os.environ["PATH"]]
        ),
        "PGHOST": str(tmp_path),
        "PGPORT": str(made.port),
        "PGUSER": "postgres",
        "PGBACKREST_CONFIG": str(tmp_path / "pgbackrest.conf"),
    }.items():
        monkeypatch.setenv(name, value)
    files = {"SETTINGS": "settings", "PGBACKREST": "pgbackrest.conf", "STANDBY": "standby", "STATE": "state"}
    for name, file in files.items():
        monkeypatch.setattr(data_backup, name, tmp_path / file)
    made.start()
    try:
        data_backup.pgbackrest("stanza-create")
        data_backup.restic("init")
        yield made
    finally:
        made.pg_ctl("stop")


def now() -> str:
    """Return this time, to the second, when it is over."""
    moment = datetime.now(UTC)
    time.sleep(1.1)
    return f"{moment + timedelta(seconds=1):%Y-%m-%d %H:%M:%S}"


def restore(to: str, force: bool) -> None:
    data_backup.restore(to, force)
    data_backup.exchange()


def systemctl(data: Data) -> str:
    file = data.directory / "systemctl"
    return file.read_text() if file.exists() else ""


def test_a_wrong_delete_is_undone(data: Data) -> None:
    """The state of the second before it comes back, and what was written since stays in the replaced directory."""
    (data.media / "one.webp").write_text("one")
    assert data_backup.reach() == "new"
    data_backup.backup()
    data.add("after the backup")
    before = data.orders()
    to = now()
    time.sleep(1)
    data.sql("DELETE FROM orders WHERE id % 2 = 0")
    (data.media / "one.webp").unlink()
    with pytest.raises(data_backup.Failed, match=r"The database is live: 501 rows. Nothing was restored"):
        data_backup.restore(to, force=False)
    assert "postgresql" not in systemctl(data)
    data.directory.chmod(0o711)
    restore(to, force=True)
    assert data.orders() == before
    assert (data.media / "one.webp").read_text() == "one"
    assert data_backup.access(data.directory)[2] == 0o711, "a directory above the uploads changed"
    assert data.data.with_name("main.replaced").is_dir()
    data.add("after the restore")
    # No later backup is needed to go back to a time after the restore: the archive has the history of its timeline.
    to = now()
    time.sleep(1)
    data.sql("DELETE FROM orders")
    restore(to, force=True)
    assert data.orders() == [*before, "after the restore"]


def test_what_does_not_recover_stops_nothing(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    data_backup.backup()
    kept = data_backup.fetch

    def fetch_with_a_fault(directory: Path, *words: str) -> None:
        kept(directory, *words)
        (directory / "backup_label").write_text("wrong")

    monkeypatch.setattr(data_backup, "fetch", fetch_with_a_fault)
    with pytest.raises(data_backup.Failed, match='invalid data in file "backup_label"'):
        data_backup.restore("", force=True)
    assert "postgresql" not in systemctl(data)
    assert not data.data.with_name("main.restored").exists()


def test_the_database_comes_back_if_the_restored_one_does_not_start(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_backup.backup()
    data.add("after the backup")
    before = data.orders()
    data_backup.restore("", force=True)
    (data.data.with_name("main.restored") / "PG_VERSION").write_text("1")
    monkeypatch.setattr(data_backup, "SECONDS_TO_START", 1)
    with pytest.raises(data_backup.Failed, match="The database is the one from before"):
        data_backup.exchange()
    assert data.orders() == before
    with pytest.raises(data_backup.Failed, match="does not exist: `restore` makes it"):
        data_backup.exchange()


def make_standby(data: Data) -> None:
    data.pg_ctl("stop")
    data.run(["touch", str(data.data / "standby.signal")])
    data.pg_ctl("start")


def test_only_the_primary_makes_backups(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new primary makes one as soon as it checks, because the archive may lack what the former one wrote last."""
    data_backup.backup()
    make_standby(data)
    result = data.directory / "state/state.json"
    result.touch()
    assert data_backup.is_standby()
    assert data_backup.reach() == "standby"
    assert data_backup.status() == "{}"
    assert "this host is a standby" in data_backup.stand_by()
    assert not result.exists()
    data.pg_ctl("promote")
    assert not data_backup.is_standby()

    def lose_the_primary() -> str:
        make_standby(data)
        raise data_backup.Failed("the server was shut down")

    with pytest.raises(data_backup.Failed, match="shut down"):
        data_backup.do_on_primary(lose_the_primary)
    data.pg_ctl("promote")
    with monkeypatch.context() as patch:
        patch.setattr(data_backup, "settings", lambda: {"UNIT": data_backup.PATRONI})
        with pytest.raises(data_backup.Moved, match="the server was shut down\nAnother host became the primary"):
            data_backup.do_on_primary(lose_the_primary)
    data.pg_ctl("promote")
    assert len(data_backup.backups(data_backup.read_info())) == 1
    (data.media / "one.webp").write_text("one")
    for _ in range(2):
        data_backup.check()
        first, second = data_backup.backups(data_backup.read_info())
    assert (first["type"], second["type"]) == ("full", "incr")
    assert second["archive"]["stop"].startswith("00000004")
    data_backup.ended(data.data / "pg_wal/000000010000000000000001")
    with pytest.raises(data_backup.Failed, match="The archive has another"):
        data_backup.ended(data.data / "pg_wal/000000040000000000000001")


STANDBY = """
[main:backup]
backup-standby=y
io-timeout=1
pg2-host=127.0.0.1
pg2-host-type=tls
pg2-host-port={port}
pg2-path=/nowhere
"""


def test_a_lost_standby_costs_no_backup(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    """The primary is read then. Other commands never try the standby."""
    directory = data.directory / "standby"
    directory.mkdir()
    (directory / "standby.conf").write_text(STANDBY.format(port=free_port()))
    data_backup.backup()
    assert "No standby can be read, so the primary is" in capsys.readouterr().out
    [made] = data_backup.backups(data_backup.read_info())
    assert made["type"] == "full"
    data_backup.pgbackrest("check")


def test_a_new_host_gets_everything(data: Data) -> None:
    (data.media / "one.webp").write_text("one")
    data_backup.backup()
    data.add("after the backup")
    before = data.orders()
    # Everything until now is in the archive, as a minute later.
    data_backup.pgbackrest("check")
    data.pg_ctl("stop")
    shutil.rmtree(data.data)
    (data.media / "one.webp").unlink()
    data.start("SELECT 1")
    assert data_backup.reach() == "foreign"
    restore("", force=False)
    assert data.orders() == before
    assert (data.media / "one.webp").read_text() == "one"
    assert data_backup.reach() == ""
    data_backup.backup()
    data_backup.check()


def test_the_drill_restores_everything(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    (data.media / "one.webp").write_text("one")
    data_backup.backup()
    data.add("after the backup")
    assert "and the archive restored in" in data_backup.drill()
    assert "public.orders      1001           1001  same" in capsys.readouterr().out
    assert not data.data.with_name("drill").exists()
    assert {"database", "archive", "uploads", "drill"} <= data_backup.read_status().keys()


def test_the_drill_finds_a_difference(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    data_backup.backup()
    kept = data_backup.recovered

    @contextmanager
    def recovered_without_a_row(scratch: Path) -> Iterator[str]:
        with kept(scratch) as where:
            data_backup.sql("DELETE FROM orders WHERE id = 7", DATABASE, where)
            yield where

    monkeypatch.setattr(data_backup, "recovered", recovered_without_a_row)
    (data.media / "one.webp").write_text("one")
    data_backup.uploads()
    with pytest.raises(data_backup.Failed, match="the restored data differs"):
        data_backup.drill()
    assert not (data.directory / "state/drilled").exists()


def test_mistakes_are_found_before_anything_stops(data: Data) -> None:
    with pytest.raises(data_backup.Failed, match="has no backup of a database"):
        data_backup.restore("", force=True)
    first = now()
    data_backup.backup()
    for to, words in {
        "yesterday": "should be a time in UTC, for example",
        "2999-01-01 12:00": "should be in the past",
        first: "the first backup is of 20",
    }.items():
        with pytest.raises(data_backup.Failed, match=words):
            data_backup.restore(to, force=True)
    data.configure(f"{data.bucket.url}/{data.prefix}", "another-password-of-these")
    with pytest.raises(data_backup.Failed, match="BACKUP_PASSWORD does not open the backups"):
        data_backup.restore("", force=True)
    data.configure(f"{data.bucket.url.removesuffix('backups')}nothing-here/{data.prefix}")
    with pytest.raises(data_backup.Failed, match=r"BACKUP_URL cannot be read: .*404"):
        data_backup.attempt(str(data.directory / "pgbackrest.conf"))
    data.configure(f"{data.bucket.url}/{data.prefix}")
    usage = shutil.disk_usage
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))
        with pytest.raises(data_backup.Failed, match="GB free: the restored database needs"):
            data_backup.restore("", force=True)
    assert "postgresql" not in systemctl(data)
    assert len(data.orders()) == 1000


def test_another_databases_backups_are_not_taken_for_these(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    data_backup.backup()
    monkeypatch.setattr(data_backup, "system_here", lambda: "1")
    assert data_backup.reach() == "foreign"
    with pytest.raises(data_backup.Failed, match="has the backups of another database"):
        data_backup.check()
    assert data_backup.snapshots("1") == []


def test_old_backups_are_found(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(data_backup.Failed, match=r"database: there is none; .*uploads: there is none"):
        data_backup.check()
    (data.media / "one.webp").write_text("one")
    data_backup.backup()
    # pgBackRest archives what backup() wrote last with the next segment.
    data_backup.pgbackrest("check")
    data_backup.check()
    clock = time.time
    for later, words in (
        (1900, "archive: the newest"),
        (4 * 3600, "uploads: the newest"),
        (27 * 3600, "database: the newest"),
    ):
        monkeypatch.setattr(time, "time", lambda later=later: clock() + later)
        with pytest.raises(data_backup.Failed, match=words):
            data_backup.check()
