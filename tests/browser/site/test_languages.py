"""The site's own pages in German, in every look, and the form that chooses a language."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import look_at
from tests.browser.site.people import PASSWORD
from tests.stacks import NativeStack, Stack, running

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Instead of the session's stack, which speaks English."""
    with running(NativeStack, {"USE_I18N": "on", "CORES": "1"}) as stack:
        yield stack


def german(page: Page) -> Iterator[str]:
    for path in ["/", "/accounts/login/", "/accounts/password/reset/", "/nothing-here/", "/accounts/signup/"]:
        page.goto(path)
        expect(page.locator("html")).to_have_attribute("lang", "de")
        yield f"german{path}"
    name = f"looker-{secrets.token_hex(4)}"
    fields = {"username": name, "email": f"{name}@example.org", "password1": PASSWORD, "password2": PASSWORD}
    for field, text in fields.items():
        page.locator(f"[name={field}]").fill(text)
    page.get_by_role("main").get_by_role("button").click()
    page.get_by_role("button", name="Abmelden").wait_for()
    for path in ["/accounts/", "/accounts/email/", "/accounts/password/change/", "/accounts/2fa/"]:
        page.goto(path)
        yield f"german-me{path}"


def test_german_pages(visitor: Callable[..., Page]) -> None:
    page = visitor(locale="de-AT")
    look_at(page, german(page))


def test_a_visitor_chooses_german_by_keyboard_without_javascript(visitor: Callable[..., Page]) -> None:
    page = visitor(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page.goto("/accounts/login/")
    button = page.get_by_role("button", name="Deutsch")
    while not button.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Anmelden")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert page.url.endswith("/accounts/login/")
