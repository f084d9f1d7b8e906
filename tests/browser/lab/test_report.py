from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.browser.looks import find_faults, looks, screenshot
from tests.environment import PROJECT


@looks
def test_the_report(visitor: Callable[..., Page], look: dict[str, Any]) -> None:
    page = visitor(**look)
    page.goto((PROJECT / "docs/lab.html").as_uri())
    screenshot(page, "lab", look)
    assert not find_faults(page)
