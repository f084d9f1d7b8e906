"""Sign-up, log-in, e-mail, password and the end of an account: django-allauth with the rules of this project."""

import re
from functools import partial
from typing import Any

import pytest
from accounts.models import User
from allauth.account.models import EmailAddress
from django.conf import settings as site_settings
from django.core import mail
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.test import Client

from tests.site.threads import at_once

pytestmark = pytest.mark.usefixtures("fresh_limits")

SIGN_UP = {
    "username": "jo",
    "email": "jo@example.org",
    "password1": "battery staple",
    "password2": "battery staple",
}
LOG_IN = {"login": "mel", "password": "correct horse"}
TAKEN = "already exists"


def link(number: int = -1) -> str:
    """Return the path of the link in a mail."""
    found = re.search(r"http://testserver(/accounts/\S+)", str(mail.outbox[number].body))
    assert found, mail.outbox[number].body
    return found[1]


def test_signing_up_logs_in_and_leads_on(client: Client) -> None:
    response = client.post("/accounts/signup/", SIGN_UP | {"next": "/accounts/"})
    assert response.headers["Location"] == "/accounts/"
    assert client.get("/accounts/").status_code == 200
    user = User.objects.get()
    assert (user.username, user.email) == ("jo", "jo@example.org")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("username", "mel", TAKEN),
        ("username", "MEL", TAKEN),
        ("username", "a b", "Enter a valid username"),
        ("username", "x" * 151, "at most 150 characters"),
        # One character, which is 18 when it is folded.
        ("username", "\ufdfa" * 20, "at most 150 characters"),
        ("email", "", "required"),
        ("email", "nobody", "valid email address"),
        ("email", "jo@\u200b", "valid email address"),
        ("password2", "other words", "same password"),
        ("password1", "12345678", "entirely numeric"),
    ],
)
def test_a_mistake_in_a_sign_up_is_shown_at_its_field(
    client: Client, user: User, field: str, value: str, message: str
) -> None:
    page = client.post("/accounts/signup/", SIGN_UP | {field: value}).content.decode()
    assert message in page.partition(f'id="id_{field}_error"')[2].partition("</ul>")[0]
    assert User.objects.count() == 1


def test_logging_in_and_out(client: Client, user: User) -> None:
    response = client.post("/accounts/login/", LOG_IN | {"password": "wrong"})
    assert "are not correct" in response.content.decode()
    response = client.post("/accounts/login/", LOG_IN | {"next": "/accounts/"})
    assert response.headers["Location"] == "/accounts/"
    assert client.get("/accounts/").status_code == 200
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get("/accounts/").status_code == 302


@pytest.mark.parametrize("methods", [{"username"}, {"email"}, {"username", "email"}])
def test_how_people_log_in_is_a_setting(client: Client, user: User, settings: Any, methods: set[str]) -> None:
    settings.ACCOUNT_LOGIN_METHODS = methods
    User.objects.update(email="mel@example.org")
    for method, typed in (("username", "MEL"), ("email", "Mel@EXAMPLE.org")):
        response = Client().post("/accounts/login/", LOG_IN | {"login": typed})
        assert response.status_code == (302 if method in methods else 200), (method, response.content)


def test_an_inactive_user_does_not_get_in(client: Client, user: User) -> None:
    User.objects.update(is_active=False)
    assert client.post("/accounts/login/", LOG_IN).headers["Location"] == "/accounts/inactive/"
    assert client.get("/accounts/").status_code == 302


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/"])
def test_no_redirect_to_another_site(client: Client, user: User, path: str, elsewhere: str) -> None:
    assert client.post(path, SIGN_UP | LOG_IN | {"next": elsewhere}).headers["Location"] == "/"


def test_the_session_cookie_is_for_this_site_and_no_script(client: Client, user: User) -> None:
    client.post("/accounts/login/", LOG_IN)
    cookie = client.cookies[site_settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == site_settings.SESSION_COOKIE_AGE


def test_the_account_needs_a_login(client: Client) -> None:
    for path in ("/accounts/", "/accounts/email/", "/accounts/password/change/", "/accounts/2fa/", "/accounts/delete/"):
        assert client.get(path).headers["Location"] == f"/accounts/login/?next={path}"


# Names and addresses


@pytest.mark.parametrize("typed", ["MEL", "Mel", "\uff2del", " mel"])
def test_a_name_is_one_name_in_any_case(client: Client, user: User, typed: str) -> None:
    assert TAKEN in client.post("/accounts/signup/", SIGN_UP | {"username": typed}).content.decode()
    assert client.post("/accounts/login/", LOG_IN | {"login": typed}).status_code == 302


@pytest.mark.parametrize(
    "names", [("Émile", "émile"), ("STRASSE", "straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("e\u0301", "\u00c9"), ("Ꭰ", "ꭰ")]
)
def test_every_alphabet_has_small_letters(names: tuple[str, str]) -> None:
    for name in names:
        Client().post("/accounts/signup/", SIGN_UP | {"username": name})
    assert User.objects.count() == 1
    for name in names:
        login = {"login": name, "password": SIGN_UP["password1"]}
        assert Client().post("/accounts/login/", login).status_code == 302


def test_the_admin_folds_names_too(admin_client: Client, user: User) -> None:
    form = {"username": "MEL", "password1": "battery staple", "password2": "battery staple", "usable_password": "true"}
    assert TAKEN in admin_client.post("/admin/accounts/user/add/", form).content.decode()
    for name in ("Jo", "Émile", "ÉMILE"):
        assert admin_client.post("/admin/accounts/user/add/", form | {"username": name}).status_code < 500
    assert User.objects.filter(username="jo").exists()
    assert User.objects.filter(username__in=["émile", "Émile", "ÉMILE"]).count() == 1


def test_commands_fold_names_and_addresses_too(user: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("MEL")
    assert User.objects.create_superuser("Jo", "Jo@EXAMPLE.org").username == "jo"
    User.objects.bulk_create([User(username="ANA", email="Ana@Example.org\u200b")])
    assert User.objects.get(username="Ana").username == "ana"
    assert set(User.objects.values_list("email", flat=True)) == {"", "jo@example.org", "ana@example.org"}


@pytest.mark.django_db(transaction=True)
def test_of_many_sign_ups_at_once_one_gets_the_name() -> None:
    names = ["Race", "race", "RACE"] * 2
    statuses: list[int] = []

    def sign_up(name: str) -> None:
        statuses.append(Client().post("/accounts/signup/", SIGN_UP | {"username": name}).status_code)

    assert at_once(*[partial(sign_up, name) for name in names]) == [""] * len(names)
    assert sorted(statuses) == [200] * 5 + [302]
    assert User.objects.count() == EmailAddress.objects.count() == 1


def test_only_one_user_can_verify_an_address(user: User) -> None:
    other = User.objects.create(username="other")
    EmailAddress.objects.create(user=user, email="mel@example.org", verified=True)
    claim = EmailAddress.objects.create(user=other, email="mel@example.org")
    assert not claim.set_verified()
    with pytest.raises(IntegrityError), transaction.atomic():
        EmailAddress.objects.filter(pk=claim.pk).update(verified=True)


def test_two_requests_verify_an_address_at_once(client: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/accounts/signup/", SIGN_UP)
    EmailAddress.objects.create(user=user, email="jo@example.org", verified=True)
    monkeypatch.setattr(EmailAddress, "can_set_verified", lambda _: True)
    assert client.post(link()).status_code == 302
    assert not EmailAddress.objects.get(user__username="jo").verified


# Mails


def test_the_link_in_the_mail_verifies_the_address(client: Client) -> None:
    client.post("/accounts/signup/", SIGN_UP)
    assert mail.outbox[0].to == ["jo@example.org"]
    assert "not verified" in client.get("/accounts/").content.decode()
    assert client.get(link()).status_code == 200
    assert not EmailAddress.objects.get().verified, "programs open links too"
    assert client.post(link()).status_code == 302
    assert EmailAddress.objects.get().verified
    assert "jo@example.org, verified" in client.get("/accounts/").content.decode()


@pytest.mark.parametrize("verification", ["optional", "mandatory"])
def test_a_sign_up_does_not_tell_who_has_an_account(user: User, settings: Any, verification: str) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = verification
    User.objects.update(email="mel@example.org")
    EmailAddress.objects.create(user=user, email="mel@example.org", verified=True, primary=True)
    answers = [
        Client().post("/accounts/signup/", SIGN_UP | {"username": name, "email": address})
        for name, address in (("known", "Mel@Example.org"), ("unknown", "somebody@example.org"))
    ]
    assert [answer.status_code for answer in answers] == [302, 302]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert [sent.to for sent in mail.outbox] == [["mel@example.org"], ["somebody@example.org"]]


def test_mandatory_verification_comes_before_the_log_in(client: Client, settings: Any) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    response = client.post("/accounts/signup/", SIGN_UP)
    assert response.headers["Location"] == "/accounts/confirm-email/"
    assert client.get("/accounts/").status_code == 302
    client.post(link())
    client.post("/accounts/login/", {"login": "jo", "password": SIGN_UP["password1"]})
    assert client.get("/accounts/").status_code == 200


def test_a_changed_address_counts_when_it_is_verified(client: Client) -> None:
    client.post("/accounts/signup/", SIGN_UP)
    client.post(link())
    client.post("/accounts/reauthenticate/", {"password": SIGN_UP["password1"]})
    client.post("/accounts/email/", {"email": "New@example.org", "action_add": ""})
    assert mail.outbox[-1].to == ["new@example.org"]
    assert User.objects.get().email == "jo@example.org"
    page = client.get("/accounts/email/").content.decode()
    assert "new@example.org" in page
    assert "Keep the old address" in page
    client.post(link())
    assert User.objects.get().email == EmailAddress.objects.get().email == "new@example.org"


def test_a_lost_password_is_replaced_by_mail(client: Client, user: User) -> None:
    User.objects.update(email="mel@example.org")
    session = Client()
    session.force_login(user)
    answers = [
        client.post("/accounts/password/reset/", {"email": each}) for each in ("mel@EXAMPLE.org", "no@example.org")
    ]
    assert {answer.headers["Location"] for answer in answers} == {"/accounts/password/reset/done/"}
    [key, unknown] = mail.outbox
    assert "/password/reset/key/" in str(key.body)
    assert "/password/reset/key/" not in str(unknown.body)
    form = client.get(link(0), follow=True).redirect_chain[-1][0]
    client.post(form, {"password1": "battery staple", "password2": "battery staple"})
    assert session.get("/accounts/").status_code == 302, "sessions of before have ended"
    assert client.post("/accounts/login/", LOG_IN).status_code == 200
    assert client.post("/accounts/login/", LOG_IN | {"password": "battery staple"}).status_code == 302
    assert "invalid" in Client().get(link(0)).content.decode()


def test_a_new_password_ends_the_other_sessions(client: Client, user: User) -> None:
    other = Client()
    for each in (client, other):
        each.post("/accounts/login/", LOG_IN)
    form = {"oldpassword": "correct horse", "password1": "battery staple", "password2": "battery staple"}
    assert client.post("/accounts/password/change/", form).status_code == 302
    assert client.get("/accounts/").status_code == 200
    assert other.get("/accounts/").status_code == 302


# Limits


def test_an_account_takes_five_guesses(user: User) -> None:
    """From any address: nginx limits the guesses of one."""
    answers = [
        Client().post("/accounts/login/", {"login": "mel", "password": "wrong"}, REMOTE_ADDR=f"192.0.2.{n}")
        for n in range(6)
    ]
    assert ["Too many" in answer.content.decode() for answer in answers] == [False] * 5 + [True]
    assert Client().post("/accounts/login/", LOG_IN).status_code == 200
    cache.clear()
    assert Client().post("/accounts/login/", LOG_IN).status_code == 302


# The end


def test_deleting_the_account(client: Client, user: User) -> None:
    client.post("/accounts/login/", LOG_IN)
    response = client.get("/accounts/delete/", follow=True)
    assert response.redirect_chain == [("/accounts/reauthenticate/?next=%2Faccounts%2Fdelete%2F", 302)]
    assert client.post("/accounts/delete/").status_code == 302
    assert User.objects.exists()
    client.post("/accounts/reauthenticate/", {"password": "correct horse"})
    assert "for good" in client.get("/accounts/delete/").content.decode()
    assert client.post("/accounts/delete/").headers["Location"] == "/"
    assert not User.objects.exists()
    assert client.get("/accounts/").status_code == 302
