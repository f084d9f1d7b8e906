"""Authentication of the endpoint that takes votes."""

from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.people import Person
from tests.sample import ENDPOINT, write_by_api
from tests.stack.api.tokens import sign
from tests.stack.checks import check_error
from tests.stacks import Stack


def total(stack: Stack) -> int:
    with stack.client() as client:
        total = client.get(ENDPOINT).json()["total"]
    assert isinstance(total, int)
    return total


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
def test_rejected_tokens(stack: Stack, fault: str) -> None:
    check_rejected(stack, f"Bearer {sign(stack, **BAD_TOKENS[fault])}", 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "x" * 5000])
def test_malformed_tokens(stack: Stack, header: str) -> None:
    check_rejected(stack, header, 401)


def test_an_unsigned_token(stack: Stack) -> None:
    claims = jwt.decode(sign(stack), options={"verify_signature": False})
    check_rejected(stack, f"Bearer {jwt.encode(claims, '', algorithm='none')}", 401)


def test_token_of_a_deleted_user(stack: Stack) -> None:
    check_rejected(stack, f"Bearer {sign(stack, sub='999999999')}", 401)


def check_rejected(stack: Stack, header: str, status: int) -> None:
    before = total(stack)
    with stack.client(headers={"Authorization": header} if header else {}) as client:
        response = write_by_api(client)
    check_error(response, status, "json")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert total(stack) == before


def test_a_revoked_token(stack: Stack, people: Iterator[Person]) -> None:
    """The site revokes it, and no process of the api has read its list since."""
    person = next(people)
    revoke = f"from tokens.models import Token; Token.objects.filter(user__username='{person.name}').revoke()"
    stack.manage("shell", "--verbosity=0", "--command", revoke)
    check_rejected(stack, f"Bearer {person.token}", 401)


def test_a_good_token(stack: Stack, people: Iterator[Person]) -> None:
    """Those above differ from it in one thing each."""
    claims = jwt.decode(next(people).token, options={"verify_signature": False})
    with stack.client(headers={"Authorization": f"Bearer {sign(stack, sub=claims['sub'])}"}) as client:
        response = write_by_api(client)
    assert response.status_code == 201, response.text
