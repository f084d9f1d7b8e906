"""Debian's Chromium on the real stack; a page that its console complains about fails its test."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.servers import program
from tests.stacks import PROJECT, Stack

SCREENSHOTS = PROJECT / "artifacts/screenshots"
PASSWORD = "correct horse battery"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]


# Not of the session: while Playwright runs there is an event loop, which tests elsewhere start for themselves.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    executable = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(stack: Stack, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`visitor()` is a page of a new browser, nobody's yet; options are those of a Playwright context."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_browser(**options: Any) -> Page:
        context = chromium.new_context(base_url=stack.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    def heard(message: ConsoleMessage) -> None:
        # A browser says so of every answer from 400 up, which a test may have asked for.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(f"{message.location}: {message.text}")

    yield open_browser
    for context in contexts:
        context.close()
    assert not complaints


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


def screenshot(page: Page, name: str, look: dict[str, Any] | None = None) -> None:
    """Of the whole page, for people to look at: artifacts/screenshots/NAME-WIDTH-SCHEME.png."""
    words = re.findall(r"\w+", name) or ["home"]
    if look:
        words += [str(look["viewport"]["width"]), look["color_scheme"]]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join(words)}.png", full_page=True)
