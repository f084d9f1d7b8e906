"""Create the database's tables: `python -m tornado_api.schema`. deploy/apps.toml runs it before the instances start.

It creates the missing tables of each tables.sql and leaves the others alone. To change a table, use a tool for
migrations in place of this command, for example Alembic (https://alembic.sqlalchemy.org).
"""

import re
from contextlib import closing
from pathlib import Path

from .database import connect

# A second process waits, and then finds the tables. The number identifies this lock.
LOCK = "SELECT pg_advisory_xact_lock(7261)"
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema",
}


def read_tables() -> dict[str, str]:
    """Return the statement that creates each table, by the table's name."""
    files = [*Path(__file__).parent.glob("tables.sql"), *Path(__file__).parent.glob("*/tables.sql")]
    statements = re.findall(r"(?s)(CREATE TABLE (\w+) .*?\n\);)", "".join(file.read_text() for file in files))
    return {name: statement for statement, name in statements}


def create_tables(url: str) -> list[str]:
    """Return the names of the tables that were missing."""
    kind = url.partition(":")[0]
    with closing(connect(url)) as connection, connection.transaction():
        if kind == "postgresql":
            connection.execute(LOCK)
        existing = {name for (name,) in connection.execute(TABLES[kind])}
        missing = {name: statement for name, statement in read_tables().items() if name not in existing}
        for statement in missing.values():
            # SQLite generates ids only in a column of this type.
            connection.execute(statement.replace("bigserial", "integer") if kind == "sqlite" else statement)
    return sorted(missing)


if __name__ == "__main__":
    from .settings import DATABASE_URL

    for table in create_tables(DATABASE_URL):
        print(f"table {table} created")
