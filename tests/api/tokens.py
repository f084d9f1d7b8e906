"""Users, and tokens as the site signs them."""

import itertools
import os
import time
import uuid
from typing import Any

import jwt

from tornado_api.auth import Token

# Their ids begin at 1.
USERS = 200
# Every user in turn, except the last two, which tests deactivate.
VOTERS = itertools.cycle(range(1, USERS - 1))


def token(user: int = 1, *, key: str | None = None, key_id: str | None = None, **claims: Any) -> str:
    """A user's token. A claim that is None is left out."""
    [(known_id, secret)] = [pair.split(":") for pair in os.environ["TOKEN_KEYS"].split(",")]
    now = int(time.time())
    whole = {"iss": "site", "aud": "api", "sub": str(user), "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex}
    payload = {name: value for name, value in (whole | claims).items() if value is not None}
    return jwt.encode(payload, key or secret, algorithm="HS256", headers={"kid": key_id or known_id})


def owner(user: int) -> Token:
    """What the api makes of a user's token."""
    return Token(uuid.uuid4().hex, user, time.time() + 60)


def bearer(user: int = 1) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user)}"}
