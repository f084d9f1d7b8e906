"""Requirements for every page."""

import pytest
from accounts.models import User
from django.conf import settings
from django.test import Client

from tests.site.test_fuzz import PATHS


@pytest.mark.parametrize("path", ["/nowhere/", "/accounts/nowhere/"])
def test_an_unknown_page_is_a_friendly_404(client: Client, db: None, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "Nothing is here" in response.content.decode()


def test_a_form_without_its_token_is_a_friendly_403(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.post("/accounts/logout/")
    assert response.status_code == 403
    assert "That form was too old" in response.content.decode()
    assert client.get("/accounts/").status_code == 200


def test_a_wrong_host_is_a_400(client: Client) -> None:
    response = client.get("/", headers={"host": "elsewhere.example"})
    assert response.status_code == 400
    assert "made no sense" in response.content.decode()


def test_a_fault_is_a_friendly_500_without_the_database(client: Client) -> None:
    # Without the fixture `db`, pytest-django makes each query fail, here the query of the session.
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
    client.raise_request_exception = False
    response = client.get("/accounts/")
    assert response.status_code == 500
    assert "Something broke" in response.content.decode()


@pytest.mark.parametrize(("path", "allowed"), [("/", "GET"), ("/accounts/logout/", "POST")])
def test_a_wrong_method_is_a_405_that_says_which_are_right(client: Client, path: str, allowed: str) -> None:
    response = client.post(path) if allowed == "GET" else client.get(path)
    assert response.status_code == 405
    assert allowed in response.headers["Allow"]
    assert response.headers.get("Content-Length", str(len(response.content))) == str(len(response.content))
    assert "<h1" in response.content.decode()


def test_head_is_answered_like_get(member: Client) -> None:
    for path in ("/", "/accounts/"):
        assert member.head(path).status_code == 200


def test_no_page_has_inline_script_or_style(member: Client) -> None:
    """nginx's Content-Security-Policy would block it."""
    for path in ("/", "/accounts/", "/nowhere/"):
        page = member.get(path).content.decode()
        assert "style=" not in page
        assert "<style" not in page
        assert "<script>" not in page
        assert " onclick" not in page


@pytest.mark.parametrize("path", ["", "accounts/user/", "accounts/user/add/"])
def test_the_admin_has_its_pages(admin_client: Client, path: str) -> None:
    page = admin_client.get(f"/admin/{path}")
    assert page.status_code == 200
    assert settings.TITLE in page.content.decode()


def test_the_admin_is_for_staff(member: Client) -> None:
    assert member.get("/admin/").status_code == 302


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PROPFIND", "PUT"])
def test_a_method_that_no_page_takes_is_a_405(method: str, db: None) -> None:
    response = Client(enforce_csrf_checks=True).generic(method, "/")
    assert response.status_code == 405
    assert "<h1" in response.content.decode()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/x-www-form-urlencoded; charset=iso-8859-1", 400),
        ("application/x-www-form-urlencoded; charset=no-such-one", 200),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=x; charset=utf-16", 200),
    ],
)
def test_charsets_of_forms(client: Client, db: None, content_type: str, status: int) -> None:
    response = client.generic("POST", "/accounts/login/", b"--x--\r\n", content_type)
    assert response.status_code == status
    assert "<h1" in response.content.decode()


@pytest.mark.parametrize("query", ["q=%00", "%00=1", "next=a%00b"])
def test_a_nul_is_a_400(admin_client: Client, query: str) -> None:
    for path in ("/", "/admin/autocomplete/", "/accounts/login/"):
        assert admin_client.get(f"{path}?{query}").status_code == 400


def test_without_use_i18n_everybody_gets_english(client: Client, db: None) -> None:
    page = client.get("/", headers={"accept-language": "de"})
    assert '<html lang="en">' in page.content.decode()
    assert "Content-Language" not in page.headers
    assert "Deutsch" not in page.content.decode()
    assert client.post("/language/", {"language": "de"}).status_code == 404


def test_pages_are_not_kept_for_others(member: Client) -> None:
    assert member.get("/").headers["Cache-Control"] == "private, no-cache"
    # What a page says itself stays.
    assert "no-store" in member.get("/accounts/login/").headers["Cache-Control"]


def test_the_cookie_that_ends_a_session_is_for_no_script(member: Client) -> None:
    cookie = member.post("/accounts/logout/").cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == 0
    assert cookie["httponly"]


def test_a_page_without_a_form_answers_405_to_a_post(client: Client, user: User) -> None:
    """Before Django misses the token of a form. PATHS has every page of the site."""
    strict = Client(enforce_csrf_checks=True)
    # allauth's function for it chooses between a page with a form and one without.
    for path in set(PATHS) - {"/accounts/confirm-email/"}:
        for who in (client, strict):
            who.force_login(user)
        if client.post(path).status_code == 405:
            response = strict.post(path)
            assert response.status_code == 405, path
            assert response.headers["Allow"].startswith("GET, HEAD"), path
    assert strict.post("/").status_code == 405
