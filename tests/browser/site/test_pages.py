"""The site's own pages in every look."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from deploy.core.apps import APPS
from tests.browser.looks import LOOKS, find_faults, look_at, looks, screenshot
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


@looks
@pytest.mark.parametrize("pages", [anonymous, logged_in])
def test_pages(visitor: Callable[..., Page], pages: Callable[[Page], Iterator[str]], look: dict[str, Any]) -> None:
    look_at(pages, visitor(**look), look)


def test_the_page_while_no_instance_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    with stopped(stack, *(instance.name for instance in APPS["site"].instances)):
        for look in LOOKS:
            page = visitor(**look)
            response = page.goto("/")
            assert response
            assert response.status == 503
            screenshot(page, "503", look)
            assert not find_faults(page)
