"""Authentication by a token that the site signed. It needs no database. revocation.py knows revoked tokens."""

from collections.abc import Mapping
from typing import NamedTuple

import jwt

from .problem import ProblemError
from .schemas import LARGEST_ID

CLAIMS = ["iss", "aud", "sub", "iat", "exp", "jti"]
LEEWAY = 5  # seconds that the clocks of two hosts may differ


class Token(NamedTuple):
    id: str
    user_id: int
    expires_at: float  # seconds since 1970


def refuse(detail: str, challenge: str = "") -> ProblemError:
    # RFC 6750, 3: the response to a request without a token has no error code.
    return ProblemError(401, detail, headers={"WWW-Authenticate": f"Bearer{challenge}"})


def verify(authorization: str, keys: Mapping[str, str]) -> Token:
    """Return the token of an Authorization header. `keys` are secrets by key id. Raises ProblemError, 401."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise refuse("This address needs a bearer token. Your account's page on the site issues them.")
    token = token.strip()
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        if not isinstance(key_id, str) or key_id not in keys:
            raise jwt.InvalidKeyError("unknown key")
        claims = jwt.decode(
            token,
            keys[key_id],
            algorithms=["HS256"],
            audience="api",
            issuer="site",
            leeway=LEEWAY,
            options={"require": CLAIMS},
        )
        subject = claims["sub"]
        if not (subject.isascii() and subject.isdigit() and 0 < int(subject) <= LARGEST_ID):
            raise jwt.InvalidTokenError("the subject is not a user's id")
    except jwt.ExpiredSignatureError:
        raise refuse("The token has expired.", ' error="invalid_token", error_description="expired"') from None
    except (jwt.PyJWTError, ValueError):
        raise refuse("The token was not issued by this site.", ' error="invalid_token"') from None
    return Token(claims["jti"], int(subject), claims["exp"] + LEEWAY)
