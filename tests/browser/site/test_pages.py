"""The site's own pages in every look."""

import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Page, Route

from deploy.core.apps import APPS
from tests.browser.looks import look_at
from tests.browser.site.people import fill_sign_up, sign_up
from tests.stack.test_health import stopped
from tests.stacks import Stack


def anonymous(page: Page) -> Iterator[str]:
    for path in ["/", "/accounts/login/", "/accounts/signup/", "/nothing-here/"]:
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
    for path in ["/", "/accounts/"]:
        page.goto(path)
        yield f"me{path}"


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


@pytest.mark.parametrize("pages", [anonymous, logged_in, errors])
def test_pages(visitor: Callable[..., Page], pages: Callable[[Page], Iterator[str]]) -> None:
    page = visitor()
    look_at(page, pages(page))


def test_the_page_while_no_instance_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    def unavailable(page: Page) -> Iterator[str]:
        response = page.goto("/")
        assert response
        assert response.status == 503
        yield "503"

    with stopped(stack, *(instance.name for instance in APPS["site"].instances)):
        page = visitor()
        look_at(page, unavailable(page))
