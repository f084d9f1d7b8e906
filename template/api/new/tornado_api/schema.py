"""The database's schema: `python -m tornado_api.schema` creates the tables that it lacks, and says which.

A table that is there stays as it is: a schema that changes wants Alembic (https://alembic.sqlalchemy.org), in place of
this command.
"""

import sqlalchemy as sa

from .app import Api  # noqa: F401 (imports every table)
from .database import metadata

# Whoever comes second waits, and finds the tables there. The number is PostgreSQL's name for this lock.
ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7261)"}


def engine(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url)


def create(url: sa.URL) -> list[str]:
    """The names of the tables that it created."""
    with engine(url).begin() as connection:
        connection.exec_driver_sql(ALONE[connection.dialect.name])
        missing = sorted(metadata.tables.keys() - set(sa.inspect(connection).get_table_names()))
        metadata.create_all(connection)
    return missing


if __name__ == "__main__":
    from .settings import DATABASE_URL

    for table in create(DATABASE_URL):
        print(f"table {table} created")
