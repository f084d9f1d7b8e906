"""Backups of a data host: what they restore, and how they detect damage, on a private PostgreSQL."""

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from deploy.ansible.roles.data.files import app_backup
from deploy.ansible.roles.data.files.app_backup import DATABASE
from tests.servers import postgresql, program

pytestmark = pytest.mark.slow

FIRST_DATA = """
CREATE TABLE django_migrations (app text, name text);
INSERT INTO django_migrations VALUES ('shop', '0002_b'), ('shop', '0001_a'), ('users', '0001_a');
CREATE TABLE orders (id bigserial PRIMARY KEY, text text, made timestamptz DEFAULT now());
INSERT INTO orders (text) SELECT 'number ' || n FROM generate_series(1, 1000) n;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        # It listens a moment before it accepts connections.
        deadline = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(url) as connection:
                    connection.execute(f"CREATE ROLE {DATABASE} LOGIN".encode())
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield url


class Data:
    """The database and the uploads."""

    def __init__(self, server: str, media: Path) -> None:
        self.url = f"{server.rpartition('/')[0]}/{DATABASE}"
        self.media = media

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement.encode())

    def orders(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            return [text for (text,) in connection.execute("SELECT text FROM orders ORDER BY id")]

    def upload(self, name: str, content: str) -> Path:
        file = self.media / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file


@pytest.fixture
def data(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Data]:
    for directory in ("backups", "media", "bin"):
        (tmp_path / directory).mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ "$1" != show ] || echo success\necho "$@" >>{tmp_path}/systemctl\n')
    systemctl.chmod(0o755)
    path = [str(tmp_path / "bin"), str(Path(program("pg_dump", "postgresql")).parent), os.environ["PATH"]]
    monkeypatch.setattr(app_backup, "BACKUPS", tmp_path / "backups")
    monkeypatch.setattr(app_backup, "MEDIA", tmp_path / "media")
    monkeypatch.setattr(
        app_backup,
        "ENVIRONMENT",
        app_backup.ENVIRONMENT
        | {"PATH": os.pathsep.join(path), "PGHOST": "127.0.0.1", "PGUSER": "postgres"}
        | {"PGPORT": str(urlsplit(server).port)},
    )
    # Each backup has its own name, however quickly they follow each other.
    seconds = iter(range(10))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            return cls(2026, 3, 1, 12, 0, next(seconds), tzinfo=UTC)

    monkeypatch.setattr(app_backup, "datetime", Clock)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE} TEMPLATE template0".encode())
    data = Data(server, tmp_path / "media")
    data.sql(FIRST_DATA)
    data.upload("pictures/one.webp", "one")
    yield data
    with psycopg.connect(server, autocommit=True) as connection:
        for name in databases(data):
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def databases(data: Data) -> set[str]:
    with psycopg.connect(data.url) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [DATABASE])
        return {name for (name,) in found}


def manifest(name: str) -> app_backup.Manifest:
    return app_backup.read_manifest(app_backup.find(name))


def test_a_backup_says_what_is_in_it(data: Data) -> None:
    name = app_backup.backup()
    found = manifest(name)
    assert found["schema"] == {"shop": "0002_b", "users": "0001_a"}
    assert {table: each["rows"] for table, each in found["tables"].items()} == {
        "public.django_migrations": 3,
        "public.orders": 1000,
    }
    assert found["files"].keys() == {"database.dump", "media/pictures/one.webp"}
    status = app_backup.status()
    assert (status["newest"], status["failed"], status["backups"]) == (name, False, 1)
    assert json.loads(json.dumps(status)) == status


def test_the_drill_restores_everything(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    app_backup.drill(app_backup.find(app_backup.backup()))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["public.orders", "1000", "1000", "same"]
    assert databases(data) == {DATABASE}


def test_the_counts_are_those_of_the_dump(data: Data) -> None:
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(data.url, autocommit=True) as connection:
            while not done.is_set():
                connection.execute("INSERT INTO orders (text) VALUES ('while it was made')")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        name = app_backup.backup()
    finally:
        done.set()
        writer.join()
    assert 1000 <= manifest(name)["tables"]["public.orders"]["rows"] < len(data.orders())
    app_backup.drill(app_backup.find(name))


def test_the_drill_finds_a_changed_row(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    backup = app_backup.find(app_backup.backup())
    found = manifest(backup.name)
    found["tables"]["public.orders"]["sum"] += "0"
    (backup / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(app_backup.Failed, match="the restored data differs from its manifest"):
        app_backup.drill(backup)
    assert "DIFFERENT" in capsys.readouterr().out
    assert databases(data) == {DATABASE}


@pytest.mark.parametrize("file", ["database.dump", "media/pictures/one.webp"])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "damaged"])
def test_damage_is_found_and_not_restored(data: Data, file: str, gone: bool) -> None:
    backup = app_backup.find(app_backup.backup())
    if gone:
        (backup / file).unlink()
    else:
        content = bytearray((backup / file).read_bytes())
        content[-1] ^= 1
        (backup / file).write_bytes(content)
    word = "missing" if gone else "damaged"
    with pytest.raises(app_backup.Failed, match=f"{file} is {word}"):
        app_backup.drill(backup)
    with pytest.raises(app_backup.Failed, match=f"{file} is {word}"):
        app_backup.restore(backup, force=True)
    assert len(data.orders()) == 1000
    assert databases(data) == {DATABASE}


def test_a_dump_that_cannot_be_read_leaves_the_database_as_it_is(data: Data) -> None:
    backup = app_backup.find(app_backup.backup())
    half = (backup / "database.dump").read_bytes()[:4000]
    (backup / "database.dump").write_bytes(half)
    found = manifest(backup.name)
    found["files"]["database.dump"] = app_backup.sha256(backup / "database.dump")
    (backup / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(app_backup.Failed, match="pg_restore"):
        app_backup.restore(backup, force=True)
    assert len(data.orders()) == 1000
    assert databases(data) == {DATABASE}


def test_a_live_database_is_replaced_only_with_force(data: Data, tmp_path: Path) -> None:
    backup = app_backup.find(app_backup.backup())
    data.sql("DELETE FROM orders WHERE id > 10")
    data.upload("pictures/one.webp", "another")
    data.upload("pictures/two.webp", "two")
    with pytest.raises(app_backup.Failed, match=r"is live: 13 rows, 0 connections"):
        app_backup.restore(backup, force=False)
    assert len(data.orders()) == 10
    with psycopg.connect(data.url) as kept:
        # The server may still be ending earlier connections.
        with pytest.raises(app_backup.Failed, match=r"is live: 13 rows, [1-9] connections"):
            app_backup.restore(backup, force=False)
        app_backup.restore(backup, force=True)
        with pytest.raises(psycopg.OperationalError):
            kept.execute("SELECT 1")
    assert data.orders() == [f"number {n}" for n in range(1, 1001)]
    assert {file.name: file.read_text() for file in data.media.rglob("*.webp")} == {
        "one.webp": "one",
        "two.webp": "two",
    }
    assert databases(data) == {DATABASE, f"{DATABASE}_replaced"}
    assert (tmp_path / "systemctl").read_text() == "restart redis-server.service\n"
    # Sequences continue where they were.
    data.sql("INSERT INTO orders (text) VALUES ('the next')")
    app_backup.restore(backup, force=True)
    assert databases(data) == {DATABASE, f"{DATABASE}_replaced"}


def test_an_empty_database_needs_no_force(data: Data) -> None:
    backup = app_backup.find(app_backup.backup())
    data.sql("DROP TABLE orders, django_migrations")
    (data.media / "pictures/one.webp").unlink()
    (data.media / "pictures").rmdir()
    app_backup.restore(backup, force=False)
    assert len(data.orders()) == 1000
    assert (data.media / "pictures/one.webp").read_text() == "one"


def test_an_unchanged_file_is_kept_once(data: Data) -> None:
    first = app_backup.find(app_backup.backup())
    data.upload("pictures/two.webp", "two")
    second = app_backup.find(app_backup.backup())
    one = "media/pictures/one.webp"
    assert (first / one).samefile(second / one)
    assert manifest(second.name)["files"].keys() == {"database.dump", one, "media/pictures/two.webp"}
    # A damaged file is copied and not linked.
    (second / one).write_text("rot")
    os.utime(second / one, ns=(0, (data.media / "pictures/one.webp").stat().st_mtime_ns))
    third = app_backup.find(app_backup.backup())
    assert not (third / one).samefile(second / one)
    assert (third / one).read_text() == "one"
    # Without known sums, every file is copied.
    (third / "manifest.json").write_text("{")
    fourth = app_backup.find(app_backup.backup())
    assert not (fourth / one).samefile(third / one)
    app_backup.drill(fourth)


def test_a_file_that_is_being_written_is_copied_when_it_is_whole(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    first = app_backup.find(app_backup.backup())
    dump = app_backup.dump

    def and_uploads(destination: Path) -> object:
        data.upload("pictures/one.webp", "one, and more of it")
        data.upload("pictures/two.webp", "two")
        return dump(destination)

    monkeypatch.setattr(app_backup, "dump", and_uploads)
    second = app_backup.find(app_backup.backup())
    assert (second / "media/pictures/one.webp").read_text() == "one, and more of it"
    assert (second / "media/pictures/two.webp").read_text() == "two"
    assert (first / "media/pictures/one.webp").read_text() == "one"
    assert app_backup.verify(second, manifest(second.name)["files"]) == []


def test_a_backup_that_fails_leaves_nothing_behind(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    before = app_backup.backup()
    (app_backup.BACKUPS / "2026-03-01T110000Z.partial").mkdir()
    data.sql("ALTER TABLE orders RENAME TO others")
    monkeypatch.setattr(app_backup, "TABLES", "SELECT 'SELECT count(*) FROM orders' \\gexec")
    with pytest.raises(app_backup.Failed, match="psql"):
        app_backup.backup()
    assert [each.name for each in app_backup.BACKUPS.iterdir()] == [before]


def test_a_backup_is_packed_and_unpacked(data: Data, tmp_path: Path) -> None:
    name = app_backup.backup()
    packed = tmp_path / "packed.tar"
    with packed.open("wb") as file:
        app_backup.pack(app_backup.find(name), file)
    (app_backup.BACKUPS / name).rename(tmp_path / "away")
    assert app_backup.unpack(packed) == name
    app_backup.drill(app_backup.find("newest"))
    (app_backup.BACKUPS / name).rename(tmp_path / "away again")
    packed.write_bytes(packed.read_bytes().replace(b"number", b"NUMBER").replace(b"one\0", b"two\0"))
    with pytest.raises(app_backup.Failed, match=r"one\.webp is damaged"):
        app_backup.unpack(packed)
    assert list(app_backup.BACKUPS.iterdir()) == []


def test_an_unknown_name(data: Data) -> None:
    with pytest.raises(app_backup.Failed, match="there is no backup newest; there are: none"):
        app_backup.find("newest")
    name = app_backup.backup()
    with pytest.raises(app_backup.Failed, match=rf"there is no backup \.\./etc; there are: {name}"):
        app_backup.find("../etc")


def test_old_backups_are_deleted() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    # One each night and one before each deploy, at noon.
    taken = [now - timedelta(hours=12 * n + 1) for n in range(200)]
    kept = app_backup.kept([each.strftime(app_backup.NAME) for each in taken], now)
    assert sorted(kept, reverse=True) == [
        "2026-03-31T110000Z",
        "2026-03-30T230000Z",
        "2026-03-29T230000Z",
        "2026-03-28T230000Z",
        "2026-03-27T230000Z",
        "2026-03-26T230000Z",
        "2026-03-25T230000Z",
        "2026-03-24T230000Z",
        "2026-03-22T230000Z",
        "2026-03-15T230000Z",
        "2026-03-08T230000Z",
    ]


def test_a_single_backup_is_kept_at_any_age() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert app_backup.kept(["2026-03-05T030000Z"], now) == {"2026-03-05T030000Z"}
    assert app_backup.kept(["2026-03-01T030000Z", "2026-03-31T115900Z"], now) == {"2026-03-31T115900Z"}
