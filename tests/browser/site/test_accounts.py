"""Sign up, log in and log out, with and without a mistake."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site.people import PASSWORD, activate_two_factor, fill_sign_up, log_in, make_code, sign_up

Visitor = Callable[..., Page]


@pytest.mark.parametrize("scripts", [True, False], ids=["", "without JavaScript"])
def test_log_out_and_in_again(visitor: Visitor, scripts: bool) -> None:
    page = visitor(java_script_enabled=scripts)
    name = f"returning-{scripts}"
    sign_up(page, name)
    page.get_by_role("button", name="Log out").click()
    log_in(page, name, "a wrong one")
    expect(page.get_by_text("are not correct")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["", "without JavaScript"])
def test_two_factor_authentication(visitor: Visitor, scripts: bool) -> None:
    page = visitor(java_script_enabled=scripts)
    name = f"careful-{scripts}"
    sign_up(page, name)
    secret = activate_two_factor(page)
    expect(page.get_by_label("Unused codes")).to_have_value(re.compile(r"^(\d{8}\s*){10}$"))
    page.get_by_role("button", name="Log out").click()
    log_in(page, name)
    page.get_by_label("Code").fill("0")
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    # A code works once, so not the one that activated it.
    page.get_by_label("Code").fill(make_code(secret, ahead=1))
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def test_the_end_of_an_account(visitor: Visitor) -> None:
    page = visitor(java_script_enabled=False)
    sign_up(page, "leaver")
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="Delete my account").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Delete my account").click()
    log_in(page, "leaver")
    expect(page.get_by_text("are not correct")).to_be_visible()


def test_a_mistake_in_a_form_is_shown_at_its_field(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/accounts/signup/")
    fill_sign_up(page, "mistaken", again="another one")
    field = page.get_by_label("Password (again)")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("same password"))
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
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    passwords = [(re.compile(label), PASSWORD) for label in ("^Password:?$", "again")]
    for label, typed in [(re.compile("Username"), "typist"), (re.compile("Email"), "typist@example.org"), *passwords]:
        page.keyboard.press("Tab")
        expect(page.get_by_label(label)).to_be_focused()
        page.keyboard.type(typed)
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Sign up")
    expect(button).to_be_focused()
    assert button.evaluate("it => getComputedStyle(it).outlineStyle") != "none", "the focus is invisible"
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
