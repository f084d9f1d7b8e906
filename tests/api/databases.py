"""Databases for these tests, beside the one of the test run."""

import os
from urllib.parse import urlsplit

import psycopg


def create(name: str) -> str:
    """Make an empty database of the kind that the tests run on. Return its URL."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite:"):
        return f"sqlite:///{os.environ['VAR_DIR']}/{name}.sqlite3"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return urlsplit(url)._replace(path=f"/{name}").geturl()
