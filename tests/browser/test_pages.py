"""Every page of ours, narrow and wide, light and dark: accessible, within the screen, and nothing in the console."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from tests.browser.conftest import ask, fill_sign_up, screenshot, sign_up
from tests.stack.pictures import PNG
from tests.stack.test_health import stopped
from tests.stacks import PROJECT, Stack

LOOKS: list[dict[str, Any]] = [
    {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    for width in (390, 1280)
    for scheme in ("light", "dark")
]
NARROWEST = 320


def anonymous(page: Page, question: str) -> Iterator[str]:
    for path in ["/", "/?state=closed", question, "/accounts/login/", "/accounts/signup/", "/nothing-here/", "/api/"]:
        page.goto(path)
        yield path.replace(question, "/question/")
    # nginx's own error page.
    page.goto("/health/live")
    yield "nginx"
    page.goto("/accounts/signup/")
    fill_sign_up(page, "///", "1", "2")
    yield "signup-mistakes"


def logged_in(page: Page, question: str) -> Iterator[str]:
    for path in ["/", question, "/accounts/", "/questions/new/"]:
        page.goto(path)
        yield f"me{path.replace(question, '/question/')}"
    page.goto("/accounts/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create a token").click()
    yield "token"


@pytest.fixture(scope="module")
def question(stack: Stack, chromium: Any) -> tuple[str, Any]:
    """The path of a question with a picture, and the state of a browser whose user asked it and voted."""
    context = chromium.new_context(base_url=stack.url)
    page = context.new_page()
    sign_up(page, "looker")
    ask(page, "Which drink keeps a deployment on a Friday evening alive for longest?", picture=PNG)
    path = page.url.removeprefix(stack.url)
    state = context.storage_state()
    context.close()
    return path, state


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['viewport']['width']}-{look['color_scheme']}")
@pytest.mark.parametrize("pages", [anonymous, logged_in])
def test_pages(visitor: Callable[..., Page], question: tuple[str, Any], pages: Any, look: dict[str, Any]) -> None:
    path, state = question
    page = visitor(**look, **({"storage_state": state} if pages is logged_in else {}))
    found = {}
    for name in pages(page, path):
        screenshot(page, name, look)
        if problems := faults(page):
            found[name] = problems
    assert not found, json.dumps(found, indent=1)


def test_the_page_while_no_app_runs(stack: Stack, visitor: Callable[..., Page]) -> None:
    with stopped(stack, "site-a", "site-b"):
        for look in LOOKS:
            page = visitor(**look)
            response = page.goto("/")
            assert response
            assert response.status == 503
            screenshot(page, "503", look)
            assert not faults(page)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['viewport']['width']}-{look['color_scheme']}")
def test_the_report_of_the_lab(visitor: Callable[..., Page], look: dict[str, Any]) -> None:
    page = visitor(**look)
    page.goto((PROJECT / "docs/lab.html").as_uri())
    screenshot(page, "lab", look)
    assert not faults(page)


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
