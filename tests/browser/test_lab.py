from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import screenshot
from tests.browser.test_pages import faults, looks
from tests.stacks import PROJECT


@looks
def test_the_report(visitor: Callable[..., Page], look: dict[str, Any]) -> None:
    page = visitor(**look)
    page.goto((PROJECT / "docs/lab.html").as_uri())
    screenshot(page, "lab", look)
    assert not faults(page)
