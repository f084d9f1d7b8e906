"""The tables are created once, by any number of processes. A token made by hand is accepted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tornado_api import schema, token
from tornado_api.auth import verify

KEYS = {"test": "x" * 32}


def test_a_token_is_for_its_user(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(schema.create_tables, [url] * 8))
    users = [token.add_user(url), token.add_user(url)]
    schema.create_tables(url)
    assert users == [1, 2]
    assert [verify(f"Bearer {token.make_token(each, KEYS)}", KEYS).user_id for each in users] == users
