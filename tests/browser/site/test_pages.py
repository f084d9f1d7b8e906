"""The site's own pages in every look."""

import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Page, Route

from deploy.core.apps import APPS
from tests.browser.looks import look_at
from tests.browser.site.people import PASSWORD, activate_two_factor, fill_sign_up, log_in, sign_up
from tests.stack.test_health import stopped
from tests.stacks import Stack

pytestmark = pytest.mark.long

LINKS = """
from accounts.models import User
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.urls import reverse

user = User.objects.get(username="NAME")
print(reverse("account_confirm_email", args=[EmailConfirmationHMAC(user.emailaddress_set.get()).key]))
key = default_token_generator.make_token(user)
print(reverse("account_reset_password_from_key", args=[user_pk_to_url_str(user), key]))
"""


def anonymous(page: Page) -> Iterator[str]:
    for path in ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing-here/"]:
        page.goto(path)
        yield path
    # nginx's own error page.
    page.goto("/health/live")
    yield "nginx"
    page.goto("/accounts/signup/")
    fill_sign_up(page, "///", "1", "2")
    yield "signup-mistakes"


def logged_in(page: Page) -> Iterator[str]:
    sign_up(page, f"looker-{secrets.token_hex(4)}")
    for path in ["/", "/accounts/", "/accounts/email/", "/accounts/password/change/", "/accounts/2fa/"]:
        page.goto(path)
        yield f"me{path}"


def confirmed(page: Page) -> Iterator[str]:
    """The pages that need the password again, and the pages with two factors."""
    name = f"looker-{secrets.token_hex(4)}"
    sign_up(page, name)
    page.goto("/accounts/delete/")
    yield "reauthenticate"
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    yield "delete"
    page.goto("/accounts/2fa/totp/activate/")
    yield "two-factor-activate"
    page.context.clear_cookies()
    page.goto("/")
    log_in(page, name)
    activate_two_factor(page)
    yield "two-factor-codes"
    for path in ["/accounts/2fa/", "/accounts/2fa/recovery-codes/generate/", "/accounts/2fa/totp/deactivate/"]:
        page.goto(path)
        yield f"two-factor{path}"
    page.get_by_role("button", name="Log out").click()
    log_in(page, name)
    yield "two-factor-code"


def mailed(stack: Stack, page: Page) -> Iterator[str]:
    """The pages behind the links in mails, and what a visitor sees after a request for one."""
    page.goto("/accounts/password/reset/")
    page.get_by_label("Email").fill("nobody@example.org")
    page.get_by_role("main").get_by_role("button").click()
    yield "reset-sent"
    name = f"looker-{secrets.token_hex(4)}"
    sign_up(page, name)
    confirm, reset = stack.manage("shell", "--verbosity=0", "--command", LINKS.replace("NAME", name)).split()
    page.goto(confirm)
    yield "confirm-email"
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Log out").click()
    page.goto(reset)
    yield "reset"
    page.goto(reset[:-2] + "/")
    yield "reset-invalid"


def errors(page: Page) -> Iterator[str]:
    """The site's error pages but the 404, and nginx's: each has one template for all."""
    for method, path, status in [
        ("GET", "/?q=%00", 400),
        ("POST", "/accounts/login/", 403),
        ("DELETE", "/", 405),
        ("GET", f"/{'a' * 9000}", 414),
    ]:
        page.route("**/*", partial(Route.continue_, method=method), times=1)
        response = page.goto(path)
        assert response
        assert response.status == status
        yield f"error-{status}"


@pytest.mark.parametrize("pages", [anonymous, logged_in, confirmed, errors])
def test_pages(visitor: Callable[..., Page], pages: Callable[[Page], Iterator[str]]) -> None:
    page = visitor()
    look_at(page, pages(page))


def test_pages_of_mails(stack: Stack, visitor: Callable[..., Page]) -> None:
    page = visitor()
    look_at(page, mailed(stack, page))


def test_the_page_while_no_instance_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    def unavailable(page: Page) -> Iterator[str]:
        response = page.goto("/")
        assert response
        assert response.status == 503
        yield "503"

    with stopped(stack, *(instance.name for instance in APPS["site"].instances)):
        page = visitor()
        look_at(page, unavailable(page))
