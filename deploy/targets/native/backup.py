"""The data of the stack on this machine: SQLite or the PostgreSQL of DATABASE_URL, and var/media."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from deploy.core.console import Failed, run
from deploy.core.local_backup import Data, PostgreSQL, output_of
from deploy.core.settings import VAR

MEDIA = VAR / "media"


class Files(Data):
    """The uploads in var/media."""

    def dump_uploads(self) -> AbstractContextManager[IO[bytes]]:
        return output_of("tar", "--create", "--sort=name", "--directory", str(MEDIA), ".")

    def extract(self, content: IO[bytes]) -> None:
        MEDIA.mkdir(exist_ok=True)
        run("tar", "--extract", "--directory", str(MEDIA), stdin=content)


class SQLite(Files):
    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self.file = file
        self.scratch = file.with_name(f"{file.name}.restored")

    @contextmanager
    def dump_database(self) -> Iterator[IO[bytes]]:
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


class PostgreSQLHere(PostgreSQL, Files):
    pass


def data_of(variables: dict[str, str]) -> Data:
    url = variables["DATABASE_URL"]
    # sqlite:////path
    return SQLite(Path(unquote(urlsplit(url).path[1:]))) if url.startswith("sqlite:") else PostgreSQLHere(url)
