"""Look at pages narrow and wide, light and dark: accessible, and no wider than the screen."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from tests.environment import PROJECT

SCREENSHOTS = PROJECT / "artifacts/screenshots"
LOOKS: list[dict[str, Any]] = [
    {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    for width in (390, 1280)
    for scheme in ("light", "dark")
]
NARROWEST = 320
looks = pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['viewport']['width']}-{look['color_scheme']}")


def look_at(pages: Callable[[Page], Iterator[str]], page: Page, look: dict[str, Any]) -> None:
    """Check every page that `pages` opens. It yields a name for each."""
    found = {}
    for name in pages(page):
        screenshot(page, name, look)
        if problems := find_faults(page):
            found[name] = problems
    assert not found, json.dumps(found, indent=1)


def screenshot(page: Page, name: str, look: dict[str, Any] | None = None) -> None:
    """Save the whole page for people to look at: artifacts/screenshots/NAME-WIDTH-SCHEME.png."""
    words = re.findall(r"\w+", name) or ["home"]
    if look:
        words += [str(look["viewport"]["width"]), look["color_scheme"]]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join(words)}.png", full_page=True)


def find_faults(page: Page) -> list[str]:
    """Return what axe finds, and the widths at which the page is wider than the screen."""
    results = Axe().run(page).response
    found = [
        f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
        for violation in results["violations"]
    ]
    viewport = page.viewport_size
    assert viewport
    for width in {viewport["width"], NARROWEST} if viewport["width"] < 600 else {viewport["width"]}:
        page.set_viewport_size({"width": width, "height": viewport["height"]})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            found.append(f"the page is {needed} pixels wide on a screen of {width}")
    page.set_viewport_size(viewport)
    return found
