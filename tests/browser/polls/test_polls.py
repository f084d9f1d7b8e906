"""A newcomer signs up, asks a question and votes."""

import re
import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.looks import look_at
from tests.browser.site.people import fill_sign_up, sign_up
from tests.sample import PNG

Visitor = Callable[..., Page]


def ask(page: Page, text: str, picture: bytes | None = None) -> None:
    """Ask a question with the choices Tea and Coffee. This opens the page of the question."""
    page.get_by_role("link", name="Ask", exact=True).click()
    page.get_by_label("Question").fill(text)
    page.get_by_label("Choices").fill("Tea\nCoffee")
    if picture:
        page.get_by_label("Picture").set_input_files({"name": "cat.png", "mimeType": "image/png", "buffer": picture})
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("heading", name=text).wait_for()


def vote(page: Page, choice: str) -> None:
    # A person clicks the label: it covers the button.
    page.locator("label", has_text=choice).click()
    page.get_by_role("button", name="Vote").click()


def votes(page: Page, choice: str) -> Locator:
    """Return the label of a choice in the chart, such as `1 vote`."""
    return page.locator(".choice", has_text=choice).locator(".votes")


def width(page: Page, choice: str) -> float:
    """Return the width of a choice's bar in pixels."""
    box = page.locator(".choice", has_text=choice).locator("rect").bounding_box()
    return box["width"] if box else 0


def test_without_javascript(visitor: Visitor) -> None:
    asker, voter = (visitor(java_script_enabled=False) for _ in range(2))
    sign_up(asker, "plain-asker")
    ask(asker, "Tea or coffee, plainly?", picture=PNG)
    address = asker.url

    # The login leads back to the question.
    voter.goto(address)
    expect(votes(voter, "Tea")).to_have_text("0 votes")
    voter.get_by_role("link", name="Log in to vote").click()
    voter.get_by_role("main").get_by_role("link", name="Sign up").click()
    fill_sign_up(voter, "plain-voter")
    expect(voter).to_have_url(address)
    vote(voter, "Tea")
    expect(votes(voter, "Tea")).to_have_text("1 vote")
    asker.reload()
    expect(votes(asker, "Tea")).to_have_text("1 vote")
    assert width(asker, "Tea") > width(asker, "Coffee")

    # A page from before the first vote sends a second one, which the site rejects.
    second = asker.context.new_page()
    second.goto(address)
    for page in (second, asker):
        vote(page, "Coffee")
    expect(asker.get_by_text("Your first vote stands")).to_be_visible()


def test_a_mistake_in_a_form_is_shown_at_its_field(visitor: Visitor) -> None:
    page = visitor()
    sign_up(page, "mistaken")
    page.goto("/questions/new/")
    page.get_by_label("Question").fill("With what picture?")
    page.get_by_label("Choices").fill("Yes\nNo")
    page.get_by_label("Picture").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"none"})
    page.get_by_role("button", name="Ask", exact=True).click()
    picture = page.get_by_label("Picture")
    expect(picture).to_have_attribute("aria-invalid", "true")
    expect(picture).to_have_accessible_description(re.compile("picture", re.IGNORECASE))
    # The form keeps the input.
    expect(page.get_by_label("Question")).to_have_value("With what picture?")


def test_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor()
    sign_up(page, "voter-by-keyboard")
    ask(page, "Tea or coffee, by keyboard?")
    page.reload()

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()

    page.keyboard.press("Tab")
    expect(page.get_by_label("Tea")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Coffee")).to_be_checked()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Vote")
    expect(button).to_be_focused()
    assert button.evaluate("it => getComputedStyle(it).outlineStyle") != "none", "the focus is invisible"
    page.keyboard.press("Enter")
    expect(page.get_by_text("You have voted.")).to_be_visible()


def pages(page: Page) -> Iterator[str]:
    sign_up(page, f"looker-{secrets.token_hex(4)}")
    ask(page, "Which drink keeps a deployment on a Friday evening alive for longest?", picture=PNG)
    yield "me/question/"
    path = page.url
    page.goto("/questions/new/")
    yield "me/questions/new/"
    page.get_by_role("button", name="Log out").click()
    for name in ["/?state=closed", path]:
        page.goto(name)
        yield name.replace(path, "/question/")


@pytest.mark.long
def test_pages(visitor: Visitor) -> None:
    page = visitor()
    look_at(page, pages(page))
