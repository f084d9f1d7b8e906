"""Sign up, log in and log out, with and without a mistake."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site.people import PASSWORD, fill_sign_up, sign_up

Visitor = Callable[..., Page]


@pytest.mark.parametrize("scripts", [True, False], ids=["", "without JavaScript"])
def test_log_out_and_in_again(visitor: Visitor, scripts: bool) -> None:
    page = visitor(java_script_enabled=scripts)
    name = f"returning-{scripts}"
    sign_up(page, name)
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("a wrong one")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Please enter a correct username and password")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_a_mistake_in_a_form_is_shown_at_its_field(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/accounts/signup/")
    fill_sign_up(page, "mistaken", again="another one")
    field = page.get_by_label("Password confirmation")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("match"))
    # The form keeps the input.
    expect(page.get_by_label("Username")).to_have_value("mistaken")


def test_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()

    page.goto("/accounts/signup/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("typist")
    for label in (re.compile("^Password:?$"), "Password confirmation"):
        page.keyboard.press("Tab")
        expect(page.get_by_label(label)).to_be_focused()
        page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Sign up")
    expect(button).to_be_focused()
    assert button.evaluate("it => getComputedStyle(it).outlineStyle") != "none", "the focus is invisible"
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
