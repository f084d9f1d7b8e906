"""Who sent a request, from the token that the site signed; no database is asked."""

from collections.abc import Mapping

import jwt

from .problem import ProblemError
from .schemas import LARGEST_ID

CLAIMS = ["iss", "aud", "sub", "iat", "exp", "jti"]
LEEWAY = 5  # seconds that the clocks of two hosts may differ


def refuse(detail: str, challenge: str = "") -> ProblemError:
    # RFC 6750, 3: a request without a token is told no error code.
    return ProblemError(401, detail, headers={"WWW-Authenticate": f"Bearer{challenge}"})


def user_id(authorization: str, keys: Mapping[str, str]) -> int:
    """The user's id of an Authorization header; `keys` are secrets by key id. Raises ProblemError, 401."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise refuse("This needs a bearer token, which the site gives you on your account's page.")
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
            raise jwt.InvalidTokenError("subject is no user")
    except jwt.ExpiredSignatureError:
        raise refuse("The token has expired.", ' error="invalid_token", error_description="expired"') from None
    except (jwt.PyJWTError, ValueError):
        raise refuse("The token is not one of this site's.", ' error="invalid_token"') from None
    return int(subject)
