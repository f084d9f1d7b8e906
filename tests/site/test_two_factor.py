"""Two-factor authentication, and the admin behind it."""

import re
import time
from typing import Any

import pytest
from accounts.models import User
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from django.test import Client

pytestmark = pytest.mark.usefixtures("fresh_limits")

LOG_IN = {"login": "mel", "password": "correct horse"}


def code(secret: str, ahead: int = 0) -> str:
    """Return an app's code for now, or for `ahead` periods later."""
    return str(auth.format_hotp_value(auth.hotp_value(secret, int(time.time()) // 30 + ahead)))


def activate(client: Client) -> tuple[str, list[str]]:
    """Return the secret and the recovery codes."""
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    assert "<svg" in page
    assert "<?xml" not in page
    assert "data:" not in page
    assert "style=" not in page
    secret = re.search(r"<code>([A-Z2-7]+)</code>", page)
    assert secret
    response = client.post("/accounts/2fa/totp/activate/", {"code": code(secret[1])})
    assert response.headers["Location"] == "/accounts/2fa/recovery-codes/"
    return secret[1], re.findall(r"\b[0-9]{8}\b", client.get("/accounts/2fa/recovery-codes/").content.decode())


@pytest.fixture
def logged_in(client: Client, user: User) -> Client:
    """Logged in as `user`, who has typed the password again, as the pages for two factors require."""
    client.post("/accounts/login/", LOG_IN)
    client.post("/accounts/reauthenticate/", {"password": "correct horse"})
    return client


def test_a_log_in_needs_the_code_of_the_app(logged_in: Client) -> None:
    secret, _ = activate(logged_in)
    assert "needs a code" in logged_in.get("/accounts/").content.decode()
    client = Client()
    assert client.post("/accounts/login/", LOG_IN).headers["Location"] == "/accounts/2fa/authenticate/"
    assert client.get("/accounts/").status_code == 302
    assert "Incorrect code" in client.post("/accounts/2fa/authenticate/", {"code": "0"}).content.decode()
    # A code works once, so not the one that activated it.
    assert client.post("/accounts/2fa/authenticate/", {"code": code(secret, 1)}).status_code == 302
    assert client.get("/accounts/").status_code == 200


def test_a_recovery_code_works_once(logged_in: Client) -> None:
    _, codes = activate(logged_in)
    assert len(codes) == 10
    for status in (200, 302):
        client = Client()
        client.post("/accounts/login/", LOG_IN)
        client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert client.get("/accounts/").status_code == status


def test_codes_cannot_be_guessed(logged_in: Client) -> None:
    secret, _ = activate(logged_in)
    client = Client()
    client.post("/accounts/login/", LOG_IN)
    for _ in range(5):
        client.post("/accounts/2fa/authenticate/", {"code": "0"})
    page = client.post("/accounts/2fa/authenticate/", {"code": code(secret, 1)}).content.decode()
    assert "Too many" in page


def test_turning_it_off(logged_in: Client) -> None:
    activate(logged_in)
    assert logged_in.get("/accounts/2fa/totp/deactivate/").status_code == 200
    logged_in.post("/accounts/2fa/totp/deactivate/")
    assert not Authenticator.objects.exists()


def test_the_pages_need_the_password_again(member: Client) -> None:
    response = member.get("/accounts/2fa/totp/activate/")
    assert response.headers["Location"].startswith("/accounts/reauthenticate/")
    page = member.post("/accounts/reauthenticate/", {"password": "wrong"}).content.decode()
    assert "Incorrect password" in page
    assert member.post("/accounts/reauthenticate/", {"password": "correct horse"}).status_code == 302
    assert member.get("/accounts/2fa/totp/activate/").status_code == 200


def test_the_admin_has_the_log_in_of_the_site(client: Client, user: User) -> None:
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/accounts/login/?next=%2Fadmin%2F")
    assert client.post("/admin/login/", {"username": "mel", "password": "correct horse"}).status_code == 302
    assert client.get("/accounts/").status_code == 302
    client.force_login(user)
    assert client.get("/admin/", follow=True).status_code == 403


def test_staff_need_a_second_factor(logged_in: Client, settings: Any) -> None:
    User.objects.update(is_staff=True, is_superuser=True)
    assert logged_in.get("/admin/").status_code == 200
    settings.STAFF_TWO_FACTOR = True
    for path in ("/admin/", "/"):
        assert logged_in.get(path).headers["Location"] == "/accounts/2fa/totp/activate/"
    activate(logged_in)
    for path in ("/admin/", "/"):
        assert logged_in.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/accounts/"])
def test_others_need_none(member: Client, settings: Any, path: str) -> None:
    settings.STAFF_TWO_FACTOR = True
    assert member.get(path).status_code == 200
    assert Client().get("/").status_code == 200
