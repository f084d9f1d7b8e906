import logging
from datetime import timedelta
from typing import Any

import jwt
import pytest
from accounts.models import LIFETIME, Token
from django.conf import settings as site_settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

SIGN_UP = {"username": "jo", "password1": "battery staple", "password2": "battery staple"}


def test_signing_up_logs_in_and_leads_on(client: Client, db: None) -> None:
    response = client.post("/accounts/signup/", SIGN_UP | {"next": "/accounts/"})
    assert response.headers["Location"] == "/accounts/"
    assert client.get("/accounts/").status_code == 200
    assert User.objects.get().username == "jo"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("username", "mel", "already exists"),
        ("username", "MEL", "already exists"),
        ("username", "a b", "Enter a valid username"),
        ("password2", "other words", "match"),
        ("password2", "12345678", "entirely numeric"),
    ],
)
def test_what_is_wrong_with_a_sign_up_is_said_at_its_field(
    client: Client, user: User, field: str, value: str, message: str
) -> None:
    form = SIGN_UP | {field: value} | ({"password1": value} if value == "12345678" else {})
    page = client.post("/accounts/signup/", form).content.decode()
    assert message in page.partition(f'id="id_{field}_error"')[2].partition("</ul>")[0]
    assert User.objects.count() == 1


def test_logging_in_and_out(client: Client, user: User) -> None:
    response = client.post("/accounts/login/", {"username": "mel", "password": "wrong"})
    assert "Please enter a correct username" in response.content.decode()
    response = client.post("/accounts/login/", {"username": "mel", "password": "correct horse", "next": "/accounts/"})
    assert response.headers["Location"] == "/accounts/"
    assert client.get("/accounts/").status_code == 200
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get("/accounts/").status_code == 302


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/"])
def test_nobody_is_led_elsewhere(client: Client, user: User, path: str, elsewhere: str) -> None:
    form = SIGN_UP | {"password": "correct horse", "next": elsewhere}
    if path == "/accounts/login/":
        form["username"] = "mel"
    assert client.post(path, form).headers["Location"] == "/"


def test_the_session_cookie_is_for_this_site_and_no_script(client: Client, user: User) -> None:
    client.post("/accounts/login/", {"username": "mel", "password": "correct horse"})
    cookie = client.cookies[site_settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def shown_token(page: str) -> str:
    return page.partition('class="token"')[2].partition(">")[2].partition("<")[0]


def test_a_token_is_shown_once_and_kept_nowhere(member: Client, user: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        response = member.post("/accounts/tokens/", {"name": "laptop"})
    token = shown_token(response.content.decode())
    assert token.count(".") == 2
    assert "no-store" in response.headers["Cache-Control"]
    page = member.get("/accounts/").content.decode()
    assert "laptop" in page
    assert token not in page
    assert token not in caplog.text
    assert token not in str(Token.objects.values().get())


def test_what_a_token_says(member: Client, user: User, settings: Any) -> None:
    settings.TOKEN_KEYS = {"new": "n" * 32, "old": "o" * 32}
    token = shown_token(member.post("/accounts/tokens/", {"name": "laptop"}).content.decode())
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "new"}
    claims = jwt.decode(token, "n" * 32, algorithms=["HS256"], issuer="site", audience="api")
    note = Token.objects.get()
    assert claims == {
        "iss": "site",
        "aud": "api",
        "sub": str(user.pk),
        "iat": int(note.created_at.timestamp()),
        "exp": int(note.expires_at.timestamp()),
        "jti": note.jti,
    }
    assert claims["exp"] - claims["iat"] == LIFETIME.total_seconds() == 3600


def test_tokens_that_expired_are_dropped(member: Client, user: User) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Token.objects.create(user=user, name="stale", jti="x", created_at=past - LIFETIME, expires_at=past)
    assert "stale" not in member.get("/accounts/").content.decode()
    member.post("/accounts/tokens/", {"name": "laptop"})
    assert Token.objects.get().name == "laptop"


def test_tokens_of_others_are_not_listed(client: Client, user: User) -> None:
    Token.objects.issue(User.objects.create(username="other"), "of another")
    client.force_login(user)
    assert "of another" not in client.get("/accounts/").content.decode()


@pytest.mark.parametrize(("name", "message"), [("", "This field is required."), ("x" * 51, "at most 50 characters")])
def test_a_token_needs_a_name(member: Client, name: str, message: str) -> None:
    page = member.post("/accounts/tokens/", {"name": name}).content.decode()
    assert message in page.partition('id="id_name_error"')[2].partition("</ul>")[0]
    assert not Token.objects.exists()


def test_the_account_needs_a_login(client: Client, db: None) -> None:
    assert client.get("/accounts/").headers["Location"] == "/accounts/login/?next=/accounts/"
    assert client.post("/accounts/tokens/", {"name": "x"}).headers["Location"] == "/accounts/login/?next=/accounts/"
    assert not Token.objects.exists()
