"""What is wrong with a request gets a clear answer, the same through nginx as without it."""

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.people import Person
from tests.sample import ENDPOINT, LIVE, SITE_POST, write_by_api
from tests.stack.test_limits import error
from tests.stacks import AnyStack


def total(stack: AnyStack) -> int:
    with stack.client() as client:
        total = client.get(ENDPOINT).json()["total"]
    assert isinstance(total, int)
    return total


@pytest.mark.parametrize(
    "path",
    [
        "/poll?after=x",
        "/poll?wait=x",
        "/poll?wait=-1",
        "/poll?wait=1e99",
        "/poll?wait=nan",
    ],
)
def test_queries_that_make_no_sense(stack: AnyStack, path: str) -> None:
    with stack.client() as client:
        response = client.get(LIVE + path)
    assert response.status_code in (400, 422), response.text
    error(response, response.status_code, "json")


def token(stack: AnyStack, secret: str = "", kid: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    good_kid, _, good_secret = stack.setting("TOKEN_KEYS").split(",")[0].partition(":")
    now = int(time.time())
    good = {"iss": "site", "aud": "api", "sub": "1", "iat": now, "exp": now + 600, "jti": "0" * 32}
    content = {name: value for name, value in (good | claims).items() if value is not None}
    return jwt.encode(content, secret or good_secret, algorithm=algorithm, headers={"kid": kid or good_kid})


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "expired": {"iat": 1_000_000_000, "exp": 1_000_003_600},
    "from the future": {"iat": 9_000_000_000, "exp": 9_000_003_600},
    "foreign issuer": {"iss": "elsewhere"},
    "foreign audience": {"aud": "elsewhere"},
    "foreign key": {"secret": "x" * 64},
    "unknown key": {"kid": "unknown"},
    "other algorithm": {"algorithm": "HS512"},
    "subject is no user id": {"sub": "root"},
    **{f"without {claim}": {claim: None} for claim in ("iss", "aud", "sub", "iat", "exp", "jti")},
}


@pytest.mark.parametrize("fault", BAD_TOKENS)
def test_bad_token(stack: AnyStack, fault: str) -> None:
    authorized(stack, f"Bearer {token(stack, **BAD_TOKENS[fault])}", 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "x" * 5000])
def test_no_token(stack: AnyStack, header: str) -> None:
    authorized(stack, header, 401)


def test_unsigned_token(stack: AnyStack) -> None:
    claims = jwt.decode(token(stack), options={"verify_signature": False})
    authorized(stack, f"Bearer {jwt.encode(claims, '', algorithm='none')}", 401)


def test_token_of_a_deleted_user(stack: AnyStack) -> None:
    authorized(stack, f"Bearer {token(stack, sub='999999999')}", 401)


def authorized(stack: AnyStack, header: str, status: int) -> None:
    before = total(stack)
    with stack.client(headers={"Authorization": header} if header else {}) as client:
        response = write_by_api(client)
    error(response, status, "json")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert total(stack) == before


def test_the_token_that_these_are_made_from_is_good(stack: AnyStack) -> None:
    with stack.client(headers={"Authorization": f"Bearer {token(stack)}"}) as client:
        response = write_by_api(client)
    assert response.status_code == 201, response.text


def test_a_form_without_its_secret(people: Iterator[Person]) -> None:
    with next(people).client() as client:
        response = client.post(SITE_POST)
    error(response, 403, "html")
