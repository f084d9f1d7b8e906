"""Debian's Chromium on the real stack. A test fails if a page logs an error or a warning to the console."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.servers import program
from tests.stacks import Stack

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]


# Not for the whole session: Playwright runs an event loop, and other tests start their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    executable = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(stack: Stack, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`visitor()` opens a page in a new browser without cookies. Its options are those of a Playwright context."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_browser(**options: Any) -> Page:
        context = chromium.new_context(base_url=stack.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", record)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    def record(message: ConsoleMessage) -> None:
        # A browser logs this for every status from 400, which a test may expect.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(f"{message.location}: {message.text}")

    yield open_browser
    for context in contexts:
        context.close()
    assert not complaints
