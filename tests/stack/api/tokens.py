"""Tokens for the api, signed with the stack's own key."""

import time
from typing import Any

import jwt

from tests.stacks import Stack


def sign(stack: Stack, secret: str = "", kid: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    """Return a token of the user with the id 1; None for a claim leaves it out."""
    good_kid, _, good_secret = stack.setting("TOKEN_KEYS").split(",")[0].partition(":")
    now = int(time.time())
    good = {"iss": "site", "aud": "api", "sub": "1", "iat": now, "exp": now + 600, "jti": "0" * 32}
    content = {name: value for name, value in (good | claims).items() if value is not None}
    return jwt.encode(content, secret or good_secret, algorithm=algorithm, headers={"kid": kid or good_kid})
