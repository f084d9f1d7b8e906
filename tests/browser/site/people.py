"""Sign up as a visitor does, and make the codes of an authenticator app."""

import base64
import hmac
import re
import time

from playwright.sync_api import Page

PASSWORD = "correct horse battery"


def sign_up(page: Page, name: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").click()
    fill_sign_up(page, name)
    page.get_by_role("button", name="Log out").wait_for()


def fill_sign_up(page: Page, name: str, password: str = PASSWORD, again: str = "") -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Email").fill(f"{name}@example.org")
    page.get_by_label(re.compile("^Password:?$")).fill(password)
    page.get_by_label("Password (again)").fill(again or password)
    page.get_by_role("button", name="Sign up").click()


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_label("Username or email").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def activate_two_factor(page: Page) -> str:
    """Set up two-factor authentication, from the account page to the recovery codes. Return the app's secret."""
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="Manage two-factor authentication").click()
    page.get_by_role("link", name="Activate").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    secret = page.locator("main code").inner_text()
    page.get_by_label("Authenticator code").fill(make_code(secret))
    page.get_by_role("button", name="Activate").click()
    page.get_by_role("heading", name="Recovery Codes").wait_for()
    return secret


def make_code(secret: str, ahead: int = 0) -> str:
    """Return the code of the app (RFC 6238) for now, or for `ahead` periods of 30 s later."""
    counter = (int(time.time()) // 30 + ahead).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    start = digest[-1] & 15
    value = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{value % 10**6:06}"
