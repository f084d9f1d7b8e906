"""What a newcomer does: sign up, wave, and see it in a second browser."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import fill_sign_up, screenshot, sign_up

Visitor = Callable[..., Page]


def waves(page: Page) -> int:
    return int(page.locator("#total").inner_text().split()[0])


def wave(page: Page) -> None:
    page.get_by_role("button", name="Wave").click()


def test_waves_arrive_without_reloading(visitor: Visitor) -> None:
    watcher, waver = visitor(), visitor()
    watcher.goto("/")
    expect(watcher.locator("#state")).to_have_text("live")
    watcher.evaluate("window.notReloaded = true")
    before = waves(watcher)

    sign_up(waver, "waver")
    waver.goto("/")
    wave(waver)
    total = f"{before + 1} wave{'s' if before else ''}"
    expect(waver.locator("#total")).to_have_text(total)
    expect(watcher.locator("#total")).to_have_text(total)
    # A screen reader hears it.
    expect(watcher.get_by_role("status")).to_have_text(total)
    assert watcher.evaluate("window.notReloaded")
    screenshot(watcher, "home-live")


def test_without_javascript(visitor: Visitor) -> None:
    waver, other = (visitor(java_script_enabled=False) for _ in range(2))
    # Who is not logged in yet is led there, and back.
    waver.goto("/")
    before = waves(waver)
    waver.get_by_role("link", name="Log in to wave").click()
    waver.get_by_role("main").get_by_role("link", name="Sign up").click()
    fill_sign_up(waver, "plain-waver")
    for _ in range(2):
        wave(waver)
    assert waves(waver) == before + 2
    other.goto("/")
    assert waves(other) == before + 2


def test_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor()
    sign_up(page, "keyboard-waver")
    page.goto("/")
    before = waves(page)
    page.get_by_role("button", name="Log out").focus()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Wave")
    expect(button).to_be_focused()
    assert button.evaluate("it => getComputedStyle(it).outlineStyle") != "none", "one does not see where one is"
    page.keyboard.press("Enter")
    expect(page.locator("#total")).to_have_text(f"{before + 1} wave{'s' if before else ''}")
