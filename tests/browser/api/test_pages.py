"""The api's documentation in every look."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.looks import look_at


def pages(page: Page) -> Iterator[str]:
    page.goto("/api/")
    yield "api"


@pytest.mark.long
def test_pages(visitor: Callable[..., Page]) -> None:
    page = visitor()
    look_at(page, pages(page))
