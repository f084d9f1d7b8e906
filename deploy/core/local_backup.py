"""Backups of a stack on this machine, by restic: a copy of the database, and the uploads. Standard library only.

Each target says how its data is read and written (`Data`). A backup is two snapshots with a tag for their time: the
database first, because a file is written before the row that names it. Another tag has the machine and the directory of
the stack, so no other stack's backups are taken for its own.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from deploy.core import backups
from deploy.core.console import Failed, run, step, table
from deploy.core.settings import VAR, values

TIME = "%Y-%m-%dT%H%M%SZ"
PARTS = ("database", "uploads")
# "schema.table" and its rows.
COUNTS = r"""
SELECT format('SELECT %L, count(*) FROM %I.%I', schemaname || '.' || tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \gexec
"""


class Backup(NamedTuple):
    """The ids of the two snapshots, in the order of PARTS."""

    time: datetime
    ids: dict[str, str]


class Data(ABC):
    """The data of one stack. `kind` is of its database: another one's backup does not fit."""

    kind: str

    @abstractmethod
    def dump_database(self) -> AbstractContextManager[IO[bytes]]:
        """Return its content, for a block. Raises Failed at the end if it is not whole."""

    @abstractmethod
    def dump_uploads(self) -> AbstractContextManager[IO[bytes]]:
        """Return a tar file, in the same way."""

    @abstractmethod
    def counts(self, scratch: bool = False) -> dict[str, int]:
        """Return how many rows each table has, of the database or of the scratch one."""

    @abstractmethod
    def load_scratch(self, content: IO[bytes]) -> None:
        """Load a database's content beside the database. Raises Failed if it does not load."""

    @abstractmethod
    def drop_scratch(self) -> None: ...

    @abstractmethod
    def replace(self) -> None:
        """Put the scratch database in place of the database, while the stack is stopped."""

    @abstractmethod
    def extract(self, content: IO[bytes]) -> None:
        """Write the uploads of a tar file. Others stay."""


@contextmanager
def output_of(*command: str, **options: Any) -> Iterator[IO[bytes]]:
    """Yield what a command prints. Raises Failed with its errors, at the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        assert process.stdout
        assert process.stderr
        yield process.stdout
        said = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise Failed(f"{command[0]}: {said.strip()}")


class PostgreSQL(Data):
    """A database in DATABASE_URL. Its role may create databases, for the scratch one."""

    kind = "postgresql"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = unquote(parts.path.lstrip("/"))
        # A password in a command line is in the list of processes.
        self.environment = os.environ | ({"PGPASSWORD": unquote(parts.password)} if parts.password else {})
        user, host = parts.netloc.rpartition("@")[0].partition(":")[0], parts.netloc.rpartition("@")[2]
        self.url = parts._replace(netloc=f"{user}@{host}" if user else host)
        self.scratch = f"{self.name}_restored"

    def command(self, program: str, database: str, *words: str) -> list[str]:
        return [program, f"--dbname={self.url._replace(path=f'/{database}').geturl()}", *words]

    def sql(self, database: str, statements: str) -> str:
        words = ["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]
        return run(*self.command("psql", database, *words), env=self.environment, input=statements)

    def dump_database(self) -> AbstractContextManager[IO[bytes]]:
        command = self.command("pg_dump", self.name, "--format=custom", "--no-owner")
        return output_of(*command, env=self.environment)

    def counts(self, scratch: bool = False) -> dict[str, int]:
        lines = self.sql(self.scratch if scratch else self.name, COUNTS).splitlines()
        return {name: int(count) for name, count in (line.rsplit("|", 1) for line in lines)}

    def load_scratch(self, content: IO[bytes]) -> None:
        self.drop_scratch()
        self.sql(self.name, f'CREATE DATABASE "{self.scratch}" TEMPLATE template0;')
        command = self.command("pg_restore", self.scratch, "--no-owner", "--single-transaction")
        done = subprocess.run(command, env=self.environment, stdin=content, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"pg_restore: {done.stderr.strip()}")

    def drop_scratch(self) -> None:
        self.sql(self.name, f'DROP DATABASE IF EXISTS "{self.scratch}" WITH (FORCE);')

    def replace(self) -> None:
        """Keep the replaced database beside it until the next restore. Nothing may be connected to a renamed one."""
        replaced = f"{self.name}_replaced"
        self.sql(
            "postgres",
            f'DROP DATABASE IF EXISTS "{replaced}" WITH (FORCE);\n'
            f'ALTER DATABASE "{self.name}" RENAME TO "{replaced}";\n'
            f'ALTER DATABASE "{self.scratch}" RENAME TO "{self.name}";',
        )


class Repository:
    """restic's repository in BACKUP_URL, or on this machine.

    Make it before root becomes the stack's owner, who may not read .env.
    """

    def __init__(self, tag: str = "") -> None:
        given = values()
        if not shutil.which("restic"):
            raise Failed("restic is not installed, and it makes the backups: apt-get install restic")
        if found := backups.faults(given):
            raise Failed("\n".join(found))
        if not given["BACKUP_PASSWORD"]:
            raise Failed("BACKUP_PASSWORD is empty: `make up` makes one")
        if not given["BACKUP_URL"]:
            print(f"BACKUP_URL is empty: backups stay in {VAR}/backups on this machine, and are lost with it")
        url = given["BACKUP_URL"] or f"file://{VAR}/backups"
        self.days = given["BACKUP_DAYS"]
        self.environment = os.environ | backups.restic_environment(url, given["BACKUP_PASSWORD"], given["CA_FILE"])
        self.tag = tag or f"{socket.gethostname()}:{VAR}"

    def restic(self, *words: str, **options: Any) -> str:
        return run("restic", "--no-cache", *words, env=self.environment, **options)

    def open(self, create: bool = False) -> None:
        """Raises Failed if the repository does not answer or has another password. `create` makes a missing one."""
        command = ["restic", "--no-cache", "cat", "config"]
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
            )
        except subprocess.TimeoutExpired:
            raise Failed("BACKUP_URL does not answer: check its host, and the network in between") from None
        if "wrong password" in done.stderr:
            raise Failed(
                "BACKUP_PASSWORD does not open the backups in BACKUP_URL: should be the one they were made with"
            )
        if done.returncode and not create:
            raise Failed(f"BACKUP_URL has no backups that can be read: {done.stderr.strip().splitlines()[-1]}")
        if done.returncode:
            self.restic("init")

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        return list(
            json.loads(self.restic("snapshots", "--json", "--no-lock", *(["--tag", ",".join(tags)] if tags else [])))
        )

    def find(self, kind: str) -> list[Backup]:
        """Return the whole backups of this stack, the newest last. Raises Failed if there is none."""
        found: dict[str, dict[str, str]] = {}
        for each in self.snapshots(self.tag, kind):
            made, part = (next(tag for tag in each["tags"] if re.fullmatch(shape, tag)) for shape in (
                r"\d{4}-\d\d-\d\dT\d{6}Z", "|".join(PARTS)))  # fmt: skip
            found.setdefault(made, {})[part] = each["id"]
        whole = [Backup(datetime.strptime(made, TIME).replace(tzinfo=UTC), ids) for made, ids in sorted(found.items())
                 if ids.keys() == set(PARTS)]  # fmt: skip
        if not whole:
            others = sorted({tag for each in self.snapshots() for tag in each.get("tags") or [] if ":" in tag})
            said = f" It has those of {', '.join(others)}: FROM={others[0]} takes them" if others else ""
            raise Failed(f"BACKUP_URL has no backup of {self.tag} ({kind}).{said}")
        return whole

    def store(self, data: Data, part: str, made: str) -> None:
        """Store what a part dumps. restic is killed before it ends if the dump fails, and then makes no snapshot."""
        tags = f"{self.tag},{data.kind},{part},{made}"
        command = ["restic", "--no-cache", "backup", "--quiet", "--stdin", f"--stdin-filename={part}", "--tag", tags]
        with subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as restic:
            assert restic.stdin
            assert restic.stderr
            try:
                with data.dump_database() if part == "database" else data.dump_uploads() as content:
                    shutil.copyfileobj(content, restic.stdin, 1 << 20)
            except BrokenPipeError:
                pass
            except BaseException:
                restic.kill()
                raise
            restic.stdin.close()
            said = restic.stderr.read().decode(errors="replace")
        if restic.returncode:
            raise Failed(f"restic: {said.strip()}")

    def content(self, snapshot: str, part: str) -> AbstractContextManager[IO[bytes]]:
        """Return the content of a part, for a block. Raises Failed at the end if restic fails."""
        return output_of("restic", "--no-cache", "dump", snapshot, part, env=self.environment)

    def size(self, backup: Backup) -> int:
        words = ["stats", "--mode=restore-size", "--json", *backup.ids.values()]
        return int(json.loads(self.restic(*words))["total_size"])


def back_up(data: Data, repository: Repository) -> None:
    repository.open(create=True)
    made = f"{datetime.now(UTC):{TIME}}"
    for part in PARTS:
        with step(part):
            repository.store(data, part, made)
    forget = ["forget", "--tag", f"{repository.tag}", "--group-by=tags", f"--keep-within={repository.days}d", "--prune"]
    repository.restic(*forget)
    print(f"\nBackup of {datetime.strptime(made, TIME):%Y-%m-%d %H:%M:%S} UTC")


def read_time(to: str) -> datetime:
    """Return a time in the past, in UTC without an offset. Raises Failed."""
    try:
        moment = datetime.fromisoformat(to)
    except ValueError:
        raise Failed(f"TO is {to!r}: should be a time in UTC, for example '2026-11-29 12:00'") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > (now := datetime.now(UTC)):
        raise Failed(f"TO is {to!r}: should be in the past; it is {now:%Y-%m-%d %H:%M:%S} now")
    return moment


def choose(repository: Repository, data: Data, to: str) -> Backup:
    """Return the newest backup, or the newest one until a time. Raises Failed if it cannot be restored here."""
    moment = read_time(to) if to else datetime.now(UTC)
    repository.open()
    found = repository.find(data.kind)
    before = [each for each in found if each.time <= moment]
    if not before:
        raise Failed(f"TO is {to!r}: the first backup is of {found[0].time:%Y-%m-%d %H:%M:%S}")
    needed, free = repository.size(before[-1]) * 1.1, shutil.disk_usage(VAR).free
    if free < needed:
        raise Failed(f"{VAR} has {free / 1e9:,.1f} GB free: the restored data needs {needed / 1e9:,.1f} GB")
    return before[-1]


@contextmanager
def loaded(repository: Repository, data: Data, backup: Backup) -> Iterator[None]:
    """A backup's database beside the database, for the block."""
    try:
        with step("database beside the current one"), repository.content(backup.ids["database"], "database") as content:
            data.load_scratch(content)
        yield
    finally:
        data.drop_scratch()


def restore(
    data: Data, repository: Repository, options: argparse.Namespace, stop: Callable[[], bool], start: Callable[[], None]
) -> None:
    """Restore a backup. Nothing stops before its database has been loaded."""
    chosen = choose(repository, data, options.to)
    rows = sum(data.counts().values())
    if rows and options.force != "yes":
        raise Failed(f"The database has {rows} rows. Nothing was restored; FORCE=yes replaces them")
    print(f"Restore the backup of {chosen.time:%Y-%m-%d %H:%M:%S} UTC", flush=True)
    with loaded(repository, data, chosen):
        # Before the rows that name them. Others stay, so nothing is lost if the rest fails.
        with step("uploads"), repository.content(chosen.ids["uploads"], "uploads") as content:
            data.extract(content)
        with step("stop"):
            was_running = stop()
        try:
            with step("exchange the databases"):
                data.replace()
        finally:
            if was_running:
                start()


def drill(data: Data, repository: Repository) -> None:
    """Restore the newest backup beside the database, and show how many rows each has."""
    chosen, started = choose(repository, data, ""), time.monotonic()
    with loaded(repository, data, chosen):
        restored, current = data.counts(scratch=True), data.counts()
    if missing := current.keys() - restored.keys():
        raise Failed(f"The backup of {chosen.time:%Y-%m-%d %H:%M:%S} lacks {', '.join(sorted(missing))}")
    rows = [("table", "rows now", "rows restored")]
    table(rows + [(name, str(current.get(name, "-")), str(restored[name])) for name in sorted(restored)])
    with step("content of all files in the repository"):
        repository.restic("check", "--read-data")
    print(f"\nThe backup of {chosen.time:%Y-%m-%d %H:%M:%S} UTC can be restored: {time.monotonic() - started:.1f} s")
