"""Limits of the site: sizes, methods, and guesses at a password."""

import time

import pytest

from tests.people import CSRF
from tests.stack.checks import MB
from tests.stack.site.test_serving import LOGIN
from tests.stack.test_limits import check_rate
from tests.stacks import Stack


def test_a_body_of_the_allowed_size_reaches_the_site(stack: Stack) -> None:
    limit = int(stack.setting("UPLOAD_LIMIT_MB")) * MB
    with stack.client() as client:
        # The answer of Django, which misses the form's secret.
        assert client.post(LOGIN, content=bytes(limit)).status_code == 403


def check_method(stack: Stack, method: str, path: str, allowed: set[str]) -> None:
    """Check that the site rejects a method and names those that it allows."""
    cookies = {f"{'__Host-' if stack.tls else ''}tandem_csrf": CSRF}
    with stack.client(cookies=cookies, headers={"X-CSRFToken": CSRF, "Origin": stack.url}) as client:
        response = client.request(method, path)
    assert response.status_code == 405
    assert allowed <= {name.strip() for name in response.headers["Allow"].split(",")}
    assert method not in response.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("DELETE", LOGIN, {"GET", "POST"}), ("GET", "/accounts/logout/", {"POST"})]
)
def test_wrong_method(stack: Stack, method: str, path: str, allowed: set[str]) -> None:
    check_method(stack, method, path, allowed)


@pytest.mark.parametrize(
    "path", [LOGIN, "/accounts/signup/", "/accounts/password/reset/", "/accounts/2fa/authenticate/", "/admin/login/"]
)
def test_too_many_guesses_at_a_password(stack: Stack, path: str) -> None:
    check_rate(stack, path, "html", burst=11)


def test_a_client_that_waits_for_retry_after_is_served(stack: Stack) -> None:
    with stack.client() as client:
        while (response := client.post(LOGIN)).status_code != 429:
            pass
        time.sleep(int(response.headers["Retry-After"]))
        assert client.post(LOGIN).status_code != 429
