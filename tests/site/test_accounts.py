from functools import partial

import pytest
from accounts.models import User
from django.conf import settings as site_settings
from django.db import IntegrityError, transaction
from django.test import Client

from tests.site.threads import at_once

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
def test_a_mistake_in_a_sign_up_is_shown_at_its_field(
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
def test_no_redirect_to_another_site(client: Client, user: User, path: str, elsewhere: str) -> None:
    form = SIGN_UP | {"password": "correct horse", "next": elsewhere}
    if path == "/accounts/login/":
        form["username"] = "mel"
    assert client.post(path, form).headers["Location"] == "/"


def test_the_session_cookie_is_for_this_site_and_no_script(client: Client, user: User) -> None:
    client.post("/accounts/login/", {"username": "mel", "password": "correct horse"})
    cookie = client.cookies[site_settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_the_account_needs_a_login(client: Client, db: None) -> None:
    assert client.get("/accounts/").headers["Location"] == "/accounts/login/?next=/accounts/"


@pytest.mark.parametrize("typed", ["MEL", "Mel", "\uff2del", " mel"])
def test_a_name_is_one_name_in_any_case(client: Client, user: User, typed: str) -> None:
    assert "already exists" in client.post("/accounts/signup/", SIGN_UP | {"username": typed}).content.decode()
    login = {"username": typed, "password": "correct horse"}
    assert client.post("/accounts/login/", login).status_code == 302


@pytest.mark.parametrize(
    "names", [("Émile", "émile"), ("STRASSE", "straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("e\u0301", "\u00c9")]
)
def test_every_alphabet_has_small_letters(client: Client, db: None, names: tuple[str, str]) -> None:
    for name in names:
        client.post("/accounts/signup/", SIGN_UP | {"username": name})
    assert User.objects.count() == 1


def test_the_admin_folds_names_too(admin_client: Client, user: User) -> None:
    form = {"username": "MEL", "password1": "battery staple", "password2": "battery staple", "usable_password": "true"}
    assert "already exists" in admin_client.post("/admin/accounts/user/add/", form).content.decode()
    for name in ("Jo", "Émile", "ÉMILE"):
        assert admin_client.post("/admin/accounts/user/add/", form | {"username": name}).status_code < 500
    assert User.objects.filter(username="jo").exists()
    assert User.objects.filter(username__in=["émile", "Émile", "ÉMILE"]).count() == 1


def test_commands_fold_names_too(user: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("MEL")
    assert User.objects.create_superuser("Jo").username == "jo"
    User.objects.bulk_create([User(username="ANA")])
    assert User.objects.get(username="Ana").username == "ana"


@pytest.mark.django_db(transaction=True)
def test_of_many_sign_ups_at_once_one_gets_the_name() -> None:
    names = ["Race", "race", "RACE"] * 2
    statuses: list[int] = []

    def sign_up(name: str) -> None:
        statuses.append(Client().post("/accounts/signup/", SIGN_UP | {"username": name}).status_code)

    assert at_once(*[partial(sign_up, name) for name in names]) == [""] * len(names)
    assert sorted(statuses) == [200] * 5 + [302]
    assert User.objects.count() == 1
