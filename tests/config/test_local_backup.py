"""Backups of a stack on this machine by restic, without its processes: SQLite and PostgreSQL, to a bucket over TLS."""

import argparse
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from deploy.core import local_backup, settings
from deploy.core.console import Failed
from deploy.core.local_backup import Data, Repository
from deploy.targets.native import backup as native
from tests.backup_bucket import Bucket, backup_bucket
from tests.servers import postgresql, program

pytestmark = pytest.mark.slow

PASSWORD = "password-of-these-tests"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    program("restic", "restic")
    with backup_bucket(tmp_path_factory.mktemp("bucket")) as made:
        yield made


class Stack:
    """The data, and whether `stop` and `start` were called."""

    def __init__(self, data: Data, media: Path, execute: Callable[[str], object]) -> None:
        self.data, self.media, self.execute = data, media, execute
        self.calls: list[str] = []

    def rows(self) -> int:
        return sum(count for name, count in self.data.counts().items() if name.endswith("orders"))

    def stop(self) -> bool:
        self.calls.append("stop")
        return True

    def restore(self, to: str = "", force: str = "yes", origin: str = "") -> None:
        options = argparse.Namespace(to=to, force=force, origin=origin)
        local_backup.restore(self.data, Repository(origin), options, self.stop, lambda: self.calls.append("start"))


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(
    request: pytest.FixtureRequest, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    media = tmp_path / "media"
    media.mkdir()
    for module in (local_backup, native, settings):
        monkeypatch.setattr(module, "VAR", tmp_path)
    monkeypatch.setattr(native, "MEDIA", media)
    given = {"BACKUP_URL": f"{bucket.url}/{tmp_path.name}", "BACKUP_PASSWORD": PASSWORD, "BACKUP_DAYS": "30"}
    monkeypatch.setattr(local_backup, "values", lambda: given | {"CA_FILE": str(bucket.authority)} | changed)
    changed: dict[str, str] = {}
    request.node.changed = changed
    monkeypatch.setenv("PATH", f"{Path(program('pg_dump', 'postgresql')).parent}:{os.environ['PATH']}")
    with contextlib.ExitStack() as ending:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/db.sqlite3"

            def execute(statement: str) -> None:
                with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
                    database.execute("PRAGMA journal_mode = wal")
                    database.execute(statement)
                    database.commit()
        else:
            superuser = ending.enter_context(postgresql())
            with psycopg.connect(superuser, autocommit=True) as connection:
                connection.execute("CREATE ROLE shop LOGIN CREATEDB PASSWORD 'sec/ret'")
                connection.execute("CREATE DATABASE shop OWNER shop")
            url = f"postgresql://shop:sec%2Fret@{superuser.rpartition('@')[2].rpartition('/')[0]}/shop"

            def execute(statement: str) -> None:
                with psycopg.connect(url) as connection:
                    connection.execute(statement.encode())

        execute("CREATE TABLE orders (text text)")
        for number in range(3):
            execute(f"INSERT INTO orders VALUES ('number {number}')")  # noqa: S608
        (media / "one.webp").write_text("one")
        yield Stack(native.data_of({"DATABASE_URL": url}), media, execute)


def test_a_backup_is_restored(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    local_backup.back_up(stack.data, Repository())
    to = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    time.sleep(1.1)
    stack.execute("DELETE FROM orders")
    (stack.media / "one.webp").unlink()
    local_backup.back_up(stack.data, Repository())
    local_backup.drill(stack.data, Repository())
    assert "can be restored" in capsys.readouterr().out
    assert stack.calls == []
    stack.restore(to)
    assert stack.calls == ["stop", "start"]
    assert stack.rows() == 3
    assert (stack.media / "one.webp").read_text() == "one"
    stack.restore()
    assert stack.rows() == 0


def test_mistakes_are_found_before_anything_stops(stack: Stack, request: pytest.FixtureRequest) -> None:
    def refused(words: str, **options: str) -> None:
        with pytest.raises(Failed, match=words):
            stack.restore(**options)

    refused("has no backups that can be read")
    local_backup.back_up(stack.data, Repository())
    refused("FORCE=yes replaces them", force="")
    refused("should be a time in UTC", to="yesterday")
    refused("should be in the past", to="2999-01-01")
    refused("the first backup is of 20", to="2001-01-01")
    refused("has no backup of elsewhere:/var .* It has those of .*FROM=", origin="elsewhere:/var")
    with pytest.MonkeyPatch.context() as patch:
        usage = shutil.disk_usage
        patch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1))
        refused("GB free: the restored data needs")
    request.node.changed["BACKUP_PASSWORD"] = "another-password-of-these"
    refused("BACKUP_PASSWORD does not open")
    assert stack.calls == []
    assert stack.rows() == 3


def test_a_dump_that_fails_makes_no_backup(stack: Stack) -> None:
    shutil.rmtree(stack.media)
    with pytest.raises(Failed, match="tar"):
        local_backup.back_up(stack.data, Repository())
    with pytest.raises(Failed, match="has no backup of"):
        stack.restore()


def test_an_empty_url_is_this_machine(stack: Stack, request: pytest.FixtureRequest, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    request.node.changed["BACKUP_URL"] = ""
    local_backup.back_up(stack.data, Repository())
    assert f"backups stay in {tmp_path}/backups on this machine" in capsys.readouterr().out
    stack.execute("DELETE FROM orders")
    stack.restore()
    assert stack.rows() == 3
