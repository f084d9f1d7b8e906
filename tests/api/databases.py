"""Databases for these tests, beside the one of the test run."""

import os
from contextlib import closing
from urllib.parse import urlsplit

import psycopg

from tornado_api.database import connect

# The columns that tornado_api reads itself.
TABLES = [
    "CREATE TABLE accounts_user (id integer PRIMARY KEY, is_active boolean NOT NULL)",
    "CREATE TABLE tokens_token (jti varchar(32) PRIMARY KEY, user_id bigint, expires_at timestamptz NOT NULL)",
]


def create(name: str) -> str:
    """Make an empty database of the kind that the tests run on. Return its URL."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite:"):
        return f"sqlite:///{os.environ['VAR_DIR']}/{name}.sqlite3"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def create_tables(url: str) -> str:
    """Make TABLES in an empty database. Return its URL."""
    with closing(connect(url)) as connection:
        for table in TABLES:
            connection.execute(table)
    return url
