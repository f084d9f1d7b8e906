"""Tokens for the api: `python -m tornado_api.token SUBJECT` prints one for a user, by number.

Whatever knows your users makes them likewise, with the first of TOKEN_KEYS.
"""

import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import jwt

from .auth import AUDIENCE, ISSUER, user

LIFETIME = timedelta(hours=1)


def make(user_id: int, keys: Mapping[str, str]) -> str:
    """A JWT, signed with the first key; `keys` are secrets by key id."""
    now = datetime.now(UTC)
    key_id, secret = next(iter(keys.items()))
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "iat": now,
        "exp": now + LIFETIME,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id})


if __name__ == "__main__":
    from .settings import TOKEN_KEYS

    try:
        [subject] = sys.argv[1:]
        print(make(user(subject), TOKEN_KEYS))
    except ValueError:
        sys.exit("SUBJECT should be a user's number, from 1 up")
