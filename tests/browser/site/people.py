"""Sign up as a visitor does."""

import re

from playwright.sync_api import Page

PASSWORD = "correct horse battery"


def sign_up(page: Page, name: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").click()
    fill_sign_up(page, name)
    page.get_by_role("button", name="Log out").wait_for()


def fill_sign_up(page: Page, name: str, password: str = PASSWORD, again: str = "") -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label(re.compile("^Password:?$")).fill(password)
    page.get_by_label("Password confirmation").fill(again or password)
    page.get_by_role("button", name="Sign up").click()
