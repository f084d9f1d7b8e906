from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.looks import look_at
from tests.environment import PROJECT


def test_the_report(visitor: Callable[..., Page]) -> None:
    page = visitor()
    page.goto((PROJECT / "docs/lab.html").as_uri())
    look_at(page, ["lab"])
