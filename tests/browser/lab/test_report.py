from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.looks import look_at
from tests.environment import PROJECT


def pages(page: Page) -> Iterator[str]:
    page.goto((PROJECT / "docs/lab.html").as_uri())
    yield "lab"


@pytest.mark.long
def test_the_report(visitor: Callable[..., Page]) -> None:
    page = visitor()
    look_at(page, pages(page))
