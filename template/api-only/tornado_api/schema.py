"""Create the database's tables: `python -m tornado_api.schema`. deploy/apps.toml runs it before the instances start.

It creates the missing tables of each tables.sql. To change a table, use a tool for migrations in place of this command.
"""

from contextlib import closing
from pathlib import Path

from .database import connect

HERE = Path(__file__).parent


def create_tables(url: str, pooler: bool = False) -> None:
    is_sqlite = url.startswith("sqlite:")
    with closing(connect(url, pooler=pooler)) as connection, connection.transaction():
        if not is_sqlite:
            # A second process waits, and then finds the tables. The number identifies this lock.
            connection.execute("SELECT pg_advisory_xact_lock(7261)")
        for file in (HERE / "tables.sql", *HERE.glob("*/tables.sql")):
            for statement in file.read_text().split(";")[:-1]:
                # SQLite generates ids only in a column of this type.
                connection.execute(statement.replace("bigserial", "integer") if is_sqlite else statement)


if __name__ == "__main__":
    from .settings import DATABASE_POOLER, DATABASE_URL

    create_tables(DATABASE_URL, DATABASE_POOLER)
