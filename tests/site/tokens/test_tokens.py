import logging
from datetime import timedelta

import jwt
import pytest
from accounts.models import User
from django.test import Client
from django.utils import timezone
from tokens.models import LIFETIME, Token
from tokens.settings import SHAPES

from tests.site.commands import manage


def shown_token(page: str) -> str:
    return page.partition('id="token"')[2].partition(">")[2].partition("<")[0]


def test_a_token_is_shown_once_and_stored_nowhere(member: Client, user: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        response = member.post("/accounts/tokens/", {"name": "laptop"})
    token = shown_token(response.content.decode())
    assert token.count(".") == 2
    assert "no-store" in response.headers["Cache-Control"]
    page = member.get("/accounts/tokens/").content.decode()
    assert "laptop" in page
    assert token not in page
    assert token not in caplog.text
    assert token not in str(Token.objects.values().get())


def test_the_claims_of_a_token(member: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokens.models.TOKEN_KEYS", {"new": "n" * 32, "old": "o" * 32})
    token = shown_token(member.post("/accounts/tokens/", {"name": "laptop"}).content.decode())
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "new"}
    claims = jwt.decode(token, "n" * 32, algorithms=["HS256"], issuer="site", audience="api")
    record = Token.objects.get()
    assert claims == {
        "iss": "site",
        "aud": "api",
        "sub": str(user.pk),
        "iat": int(record.created_at.timestamp()),
        "exp": int(record.expires_at.timestamp()),
        "jti": record.jti,
    }
    assert claims["exp"] - claims["iat"] == LIFETIME.total_seconds() == 3600


def test_expired_tokens_are_deleted(member: Client, user: User) -> None:
    past = timezone.now() - timedelta(minutes=2)
    Token.objects.create(user=user, name="stale", jti="x", created_at=past - LIFETIME, expires_at=past)
    Token.objects.create(user=None, name="revoked", jti="y", created_at=past - LIFETIME, expires_at=past)
    assert "stale" not in member.get("/accounts/tokens/").content.decode()
    member.post("/accounts/tokens/", {"name": "laptop"})
    assert Token.objects.get().name == "laptop"


def test_tokens_of_others_are_not_listed(client: Client, user: User) -> None:
    Token.objects.issue(User.objects.create(username="other"), "of another")
    client.force_login(user)
    assert "of another" not in client.get("/accounts/tokens/").content.decode()


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "This field is required."), ("x" * 51, "at most 50 characters"), ("\u2800", "Nothing of this can be seen")],
)
def test_a_token_needs_a_name(member: Client, name: str, message: str) -> None:
    page = member.post("/accounts/tokens/", {"name": name}).content.decode()
    assert message in page.partition('id="id_name_error"')[2].partition("</ul>")[0]
    assert not Token.objects.exists()


def test_tokens_need_a_login(client: Client, db: None) -> None:
    posts = [client.post("/accounts/tokens/", {"name": "x"}), client.post("/accounts/tokens/revoke/")]
    for response in (client.get("/accounts/tokens/"), *posts):
        assert response.headers["Location"] == "/accounts/login/?next=/accounts/tokens/"
    assert not Token.objects.exists()


def test_a_user_revokes_one_token_or_all(member: Client, user: User) -> None:
    other = User.objects.create(username="other")
    Token.objects.issue(other, "of another")
    for name in ("tablet", "phone", "clock"):
        Token.objects.issue(user, name)
    jti = {token.name: token.jti for token in Token.objects.all()}
    for chosen in ("tablet", "of another"):
        response = member.post("/accounts/tokens/revoke/", {"jti": jti[chosen]})
        assert response.headers["Location"] == "/accounts/tokens/"
    assert set(user.tokens.values_list("name", flat=True)) == {"phone", "clock"}
    assert "tablet" not in member.get("/accounts/tokens/").content.decode()
    member.post("/accounts/tokens/revoke/")
    assert not user.tokens.exists()
    assert other.tokens.count() == 1
    # The api finds the records of revoked tokens, and those of deleted users.
    other.delete()
    assert Token.objects.filter(user=None).count() == 4


def test_the_account_links_to_the_tokens(member: Client) -> None:
    assert 'href="/accounts/tokens/"' in member.get("/accounts/").content.decode()


def test_every_page_links_to_the_api(client: Client, db: None) -> None:
    assert '<a href="/api/">API</a>' in client.get("/accounts/login/").content.decode()


def test_the_page_has_no_inline_script_or_style(member: Client) -> None:
    """nginx's Content-Security-Policy would block them."""
    page = member.post("/accounts/tokens/", {"name": "laptop"}).content.decode()
    assert "style=" not in page
    assert "<style" not in page
    assert "<script>" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    ["", "hunter2", "a:hunter2", f"a:{'x' * 32},a:{'y' * 32}", f":{'x' * 32}"],
    ids=["empty", "no id", "short", "one id twice", "empty id"],
)
def test_wrong_keys_stop_the_site_with_a_line(value: str) -> None:
    done = manage("check", TOKEN_KEYS=value)
    assert done.returncode == 1
    fault = "malformed" if value else "not set"
    assert done.stderr == f"site: TOKEN_KEYS: {fault}; should be {SHAPES['TOKEN_KEYS']}\n"
