"""Every page of ours, narrow and wide, light and dark: accessible, within the screen, and nothing in the console."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from tests.browser.conftest import fill_sign_up, screenshot, sign_up
from tests.stack.test_health import stopped
from tests.stacks import Stack

LOOKS: list[dict[str, Any]] = [
    {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    for width in (390, 1280)
    for scheme in ("light", "dark")
]
NARROWEST = 320
looks = pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['viewport']['width']}-{look['color_scheme']}")


def anonymous(page: Page) -> Iterator[str]:
    for path in ["/", "/accounts/login/", "/accounts/signup/", "/nothing-here/", "/api/"]:
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
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create a token").click()
    yield "token"


@looks
@pytest.mark.parametrize("pages", [anonymous, logged_in])
def test_pages(visitor: Callable[..., Page], pages: Callable[[Page], Iterator[str]], look: dict[str, Any]) -> None:
    look_at(pages, visitor(**look), look)


def test_the_page_while_no_app_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    with stopped(stack, "site-a", "site-b"):
        for look in LOOKS:
            page = visitor(**look)
            response = page.goto("/")
            assert response
            assert response.status == 503
            screenshot(page, "503", look)
            assert not faults(page)


def look_at(pages: Callable[[Page], Iterator[str]], page: Page, look: dict[str, Any]) -> None:
    found = {}
    for name in pages(page):
        screenshot(page, name, look)
        if problems := faults(page):
            found[name] = problems
    assert not found, json.dumps(found, indent=1)


def faults(page: Page) -> list[str]:
    """What axe finds, and what is wider than the screen."""
    results = Axe().run(page).response
    found = [
        f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
        for violation in results["violations"]
    ]
    viewport = page.viewport_size
    assert viewport
    for width in {viewport["width"], NARROWEST} if viewport["width"] < 600 else {viewport["width"]}:
        page.set_viewport_size({"width": width, "height": viewport["height"]})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            found.append(f"{needed} pixels are needed where there are {width}")
    page.set_viewport_size(viewport)
    return found
