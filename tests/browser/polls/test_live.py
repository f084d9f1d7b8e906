"""Votes through the api, and results that arrive without a reload. A project without the api deletes this file."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.looks import screenshot
from tests.browser.polls.test_polls import ask, vote, votes, width
from tests.browser.site.people import sign_up
from tests.browser.tokens.test_tokens import create_token
from tests.sample import PNG

Visitor = Callable[..., Page]


def test_votes_arrive_without_reloading(visitor: Visitor) -> None:
    asker, voter = visitor(), visitor()
    sign_up(asker, "asker")
    ask(asker, "Tea or coffee, live?", picture=PNG)
    expect(asker.locator("#state")).to_have_text("live")
    picture = asker.locator("img.picture")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0
    asker.evaluate("window.notReloaded = true")
    before = width(asker, "Coffee")

    sign_up(voter, "voter")
    voter.goto("/")
    voter.get_by_role("link", name="Tea or coffee, live?").click()
    vote(voter, "Coffee")
    expect(voter.get_by_text("You have voted.")).to_be_visible()

    expect(asker.locator("#total")).to_have_text("1 vote")
    expect(votes(asker, "Coffee")).to_have_text("1 vote")
    expect(votes(asker, "Tea")).to_have_text("0 votes")
    expect(asker.locator(".choice", has_text="Coffee").locator(".share")).to_have_text("100%")
    assert width(asker, "Coffee") > before
    # A screen reader reads it out.
    expect(asker.get_by_role("status")).to_have_text("1 vote")
    assert asker.evaluate("window.notReloaded")

    # The update left the asker's choice alone.
    vote(asker, "Tea")
    expect(voter.locator("#total")).to_have_text("2 votes")
    screenshot(voter, "journey-voted")


def test_a_token_from_the_account_page_votes(visitor: Visitor) -> None:
    page = visitor()
    sign_up(page, "token-voter")
    token = create_token(page, "laptop")
    answer = page.request.post(
        "/api/v1/questions/1/votes", headers={"Authorization": f"Bearer {token}"}, data={"choice": 1}
    )
    assert answer.status in (200, 201), answer.text()
