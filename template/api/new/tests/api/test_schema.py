"""The tables are made once, whoever makes them and however often."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tornado_api import schema
from tornado_api.database import metadata


@pytest.fixture
def empty(tmp_path: Path) -> sa.URL:
    """A database with nothing in it, of this run's column."""
    url = sa.make_url(os.environ["DATABASE_URL"])
    if url.get_backend_name() == "sqlite":
        return url.set(database=f"{tmp_path}/db.sqlite3")
    name = f"empty_{os.urandom(4).hex()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.set(database=name)


def test_what_is_there_stays(empty: sa.URL) -> None:
    assert schema.create(empty) == sorted(metadata.tables)
    with schema.engine(empty).begin() as connection:
        connection.execute(sa.text("INSERT INTO wave (user_id, key) VALUES (1, 'one')"))
    assert schema.create(empty) == []
    with schema.engine(empty).connect() as connection:
        assert connection.execute(sa.text("SELECT id, user_id, key FROM wave")).all() == [(1, 1, "one")]


def test_many_at_once(empty: sa.URL) -> None:
    with ThreadPoolExecutor(8) as threads:
        created = [*threads.map(schema.create, [empty] * 8)]
    assert sorted(created) == [[]] * 7 + [sorted(metadata.tables)]
