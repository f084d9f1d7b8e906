"""The data of the stack on this machine: SQLite or the PostgreSQL of DATABASE_URL, and var/media."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from deploy.core.console import Failed, run
from deploy.core.local_backup import Data, output_of
from deploy.core.settings import VAR

MEDIA = VAR / "media"
# "schema.table" and its rows.
COUNTS = r"""
SELECT format('SELECT %L, count(*) FROM %I.%I', schemaname || '.' || tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \gexec
"""


def dump_uploads() -> contextlib.AbstractContextManager[IO[bytes]]:
    # tar ends with 1 if a file changes meanwhile.
    return output_of("tar", "--create", "--sort=name", "--directory", str(MEDIA), ".")


def extract_uploads(content: IO[bytes]) -> None:
    MEDIA.mkdir(exist_ok=True)
    run("tar", "--extract", "--directory", str(MEDIA), stdin=content)


class SQLite(Data):
    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self.file = file
        self.scratch = file.with_name(f"{file.name}.restored")

    @contextmanager
    def dump(self, part: str) -> Iterator[IO[bytes]]:
        if part == "uploads":
            with dump_uploads() as content:
                yield content
            return
        # The file alone may lack recent writes, which are in the write-ahead log.
        with tempfile.NamedTemporaryFile(dir=self.file.parent) as copy:
            with (
                contextlib.closing(sqlite3.connect(self.file)) as live,
                contextlib.closing(sqlite3.connect(copy.name)) as to,
            ):
                live.backup(to)
            yield copy.file

    def counts(self, scratch: bool = False) -> dict[str, int]:
        file = self.scratch if scratch else self.file
        if not file.exists():
            return {}
        with contextlib.closing(sqlite3.connect(file)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608

    def load_scratch(self, content: IO[bytes]) -> None:
        with self.scratch.open("wb") as file:
            shutil.copyfileobj(content, file)
        with contextlib.closing(sqlite3.connect(self.scratch)) as database:
            [found] = database.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            raise Failed(f"The database in the backup is damaged: {found}")

    def drop_scratch(self) -> None:
        for file in self.file.parent.glob(f"{self.scratch.name}*"):
            file.unlink()

    def replace(self) -> None:
        """Keep the replaced database beside it until the next restore. -wal and -shm belong to their file."""
        replaced = VAR / "replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        replaced.mkdir()
        for name in (self.file.name, f"{self.file.name}-wal", f"{self.file.name}-shm"):
            if (file := self.file.with_name(name)).exists():
                file.rename(replaced / name)
        self.scratch.rename(self.file)

    def extract(self, content: IO[bytes]) -> None:
        extract_uploads(content)


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

    @contextmanager
    def dump(self, part: str) -> Iterator[IO[bytes]]:
        command = self.command("pg_dump", self.name, "--format=custom", "--no-owner")
        with dump_uploads() if part == "uploads" else output_of(*command, env=self.environment) as content:
            yield content

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

    def extract(self, content: IO[bytes]) -> None:
        extract_uploads(content)


def data_of(variables: dict[str, str]) -> Data:
    url = variables["DATABASE_URL"]
    # sqlite:////path
    return SQLite(Path(unquote(urlsplit(url).path[1:]))) if url.startswith("sqlite:") else PostgreSQL(url)
