"""Databases for these tests, beside the one of the test run."""

import os

import psycopg
import sqlalchemy as sa


def create(name: str) -> str:
    """Make an empty database of the kind that the tests run on. Return its URL."""
    url = sa.make_url(os.environ["DATABASE_URL"])
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{os.environ['VAR_DIR']}/{name}.sqlite3"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.set(database=name).render_as_string(hide_password=False)
