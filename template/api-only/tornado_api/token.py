"""Add a user and print a token for it, valid for an hour: `python -m tornado_api.token`.

`python -m tornado_api.token 7` prints another token for user 7. Your own service for users can make tokens like this.
"""

import sys
import uuid
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

import jwt

from .database import connect

LIFETIME = timedelta(hours=1)


def add_user(url: str, pooler: bool = False) -> int:
    with closing(connect(url, pooler=pooler)) as connection:
        [(id,)] = connection.execute("INSERT INTO accounts_user DEFAULT VALUES RETURNING id")
        return int(id)


def make_token(user_id: int, keys: Mapping[str, str]) -> str:
    """Sign a token with the first of `keys`, which are secrets by key id. auth.py checks these claims."""
    now = datetime.now(UTC)
    key_id, secret = next(iter(keys.items()))
    times = {"iat": now, "exp": now + LIFETIME}
    claims = {"iss": "site", "aud": "api", "sub": str(user_id), "jti": uuid.uuid4().hex, **times}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id})


if __name__ == "__main__":
    from .settings import DATABASE_POOLER, DATABASE_URL, TOKEN_KEYS

    print(make_token(int(sys.argv[1]) if len(sys.argv) > 1 else add_user(DATABASE_URL, DATABASE_POOLER), TOKEN_KEYS))
