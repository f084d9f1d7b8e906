"""Create the database's tables: `python -m tornado_api.schema`. deploy/apps.toml runs it before the instances start.

It creates missing tables and leaves the others alone. To change a table, use Alembic (https://alembic.sqlalchemy.org)
in place of this command.
"""

import sqlalchemy as sa

from . import features  # noqa: F401 (its stores define tables)
from .database import metadata

# A second process waits, and then finds the tables. The number identifies this lock in PostgreSQL.
LOCK = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7261)"}


def create_engine(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url)


def create_tables(url: sa.URL) -> list[str]:
    """Return the names of the tables that were missing."""
    with create_engine(url).begin() as connection:
        connection.exec_driver_sql(LOCK[connection.dialect.name])
        missing = sorted(metadata.tables.keys() - set(sa.inspect(connection).get_table_names()))
        metadata.create_all(connection)
    return missing


if __name__ == "__main__":
    from .settings import DATABASE_URL

    for table in create_tables(DATABASE_URL):
        print(f"table {table} created")
