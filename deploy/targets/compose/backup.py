"""The data of the stack in containers: its own PostgreSQL, and the volume with the uploads."""

from contextlib import AbstractContextManager
from typing import IO

from deploy.core.apps import django
from deploy.core.console import Failed, run
from deploy.core.local_backup import PostgreSQL, output_of
from deploy.core.settings import values

from .generate import DATABASE
from .target import ComposeTarget

MEDIA = "/srv/app/var/media"


class PostgreSQLInContainer(PostgreSQL):
    """Its programs run in its container. tar runs in one of the site, which may be stopped."""

    def __init__(self, target: ComposeTarget) -> None:
        if values()["DATABASE_URL"]:
            raise Failed("DATABASE_URL names a database elsewhere: its provider makes and restores the backups")
        super().__init__(f"postgresql://{DATABASE}@/{DATABASE}")
        self.environment = target.environment
        self.target = target

    def command(self, program: str, database: str, *words: str) -> list[str]:
        login = [f"--username={DATABASE}", f"--dbname={database}"]
        return self.target.command("exec", "-T", "postgres", program, *login, *words)

    def tar(self, *words: str) -> list[str]:
        app = django()
        assert app
        once = ["run", "--rm", "-T", "--no-deps", app.instances[0].name]
        return self.target.command(*once, "tar", "--directory", MEDIA, *words)

    def dump_uploads(self) -> AbstractContextManager[IO[bytes]]:
        return output_of(*self.tar("--create", "--sort=name", "."), env=self.environment)

    def extract(self, content: IO[bytes]) -> None:
        run(*self.tar("--extract"), env=self.environment, stdin=content)
