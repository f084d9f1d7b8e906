"""A user creates a token for the api."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import look_at
from tests.browser.site.people import sign_up


def create_token(page: Page, name: str) -> str:
    """Create a token from the account page, and return it."""
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="Create and list tokens").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create a token").click()
    return page.locator("#token").inner_text()


def test_a_token_without_javascript(visitor: Callable[..., Page]) -> None:
    page = visitor(java_script_enabled=False)
    sign_up(page, "token-owner")
    assert create_token(page, "laptop").count(".") == 2
    expect(page.get_by_role("rowheader", name="laptop")).to_be_visible()
    # Only a script could copy.
    expect(page.get_by_role("button", name="Copy the token")).to_be_hidden()
    page.get_by_role("button", name="Revoke laptop").click()
    expect(page.get_by_text("You have no active token.")).to_be_visible()


def test_copy_a_token(visitor: Callable[..., Page]) -> None:
    page = visitor(permissions=["clipboard-read", "clipboard-write"])
    sign_up(page, "token-copier")
    token = create_token(page, "laptop")
    page.get_by_role("button", name="Copy the token").click()
    expect(page.get_by_role("status").get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == token


def pages(page: Page) -> Iterator[str]:
    sign_up(page, f"looker-{secrets.token_hex(4)}")
    page.goto("/accounts/tokens/")
    yield "tokens"
    create_token(page, "laptop")
    yield "token"


@pytest.mark.long
def test_pages(visitor: Callable[..., Page]) -> None:
    page = visitor()
    look_at(page, pages(page))
