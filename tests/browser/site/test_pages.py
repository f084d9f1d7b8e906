"""The site's own pages in every look."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

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


@pytest.mark.parametrize("pages", [anonymous, logged_in])
def test_pages(visitor: Callable[..., Page], pages: Callable[[Page], Iterator[str]]) -> None:
    page = visitor()
    look_at(page, pages(page))


def test_the_page_while_no_instance_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    with stopped(stack, *(instance.name for instance in APPS["site"].instances)):
        page = visitor()
        response = page.goto("/")
        assert response
        assert response.status == 503
        look_at(page, ["503"])
