"""The api's documentation in every look."""

from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Page

from tests.browser.looks import look_at, looks


def pages(page: Page) -> Iterator[str]:
    page.goto("/api/")
    yield "api"


@looks
def test_pages(visitor: Callable[..., Page], look: dict[str, Any]) -> None:
    look_at(pages, visitor(**look), look)
