"""Check pages narrow and wide, light and dark: they are valid, accessible, and no wider than the screen."""

import json
import re
from collections.abc import Iterable
from typing import Literal

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

from tests.browser.validators import Documents, find_html_faults, find_pa11y_faults
from tests.environment import PROJECT

SCREENSHOTS = PROJECT / "artifacts/screenshots"
HEIGHT = 844
LOOKS: list[tuple[int, Literal["light", "dark"]]] = [
    (390, "light"),
    (390, "dark"),
    (1280, "light"),
    (1280, "dark"),
]
NARROWEST = 320


def look_at(page: Page, names: Iterable[str]) -> None:
    """Check the page in each look, once for each name. Iterating over the names may open another page for each."""
    found = {}
    responses, documents = Documents(page), {}
    for name in names:
        documents[name] = responses.read()
        for width, scheme in LOOKS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            page.emulate_media(color_scheme=scheme)
            screenshot(page, name, str(width), scheme)
            if problems := find_faults(page):
                found[f"{name} {width} {scheme}"] = problems
    found |= find_html_faults(documents)
    assert not found, json.dumps(found, indent=1)


def screenshot(page: Page, name: str, *look: str) -> None:
    """Save the whole page for people to look at: artifacts/screenshots/NAME-WIDTH-SCHEME.png."""
    words = re.findall(r"\w+", name) or ["home"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join([*words, *look])}.png", full_page=True)


def find_faults(page: Page) -> list[str]:
    """Return what axe and pa11y find, and the widths at which the page is wider than the screen."""
    results = Axe().run(page).response
    found = [
        f"{violation['id']}: {violation['help']}: {[node['html'] for node in violation['nodes']]}"
        for violation in results["violations"]
    ] + find_pa11y_faults(page)
    viewport = page.viewport_size
    assert viewport
    for width in {viewport["width"], NARROWEST} if viewport["width"] < 600 else {viewport["width"]}:
        page.set_viewport_size({"width": width, "height": viewport["height"]})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            found.append(f"the page is {needed} pixels wide on a screen of {width}")
    page.set_viewport_size(viewport)
    return found
