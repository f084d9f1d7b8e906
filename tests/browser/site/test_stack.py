"""The stack page in every look, at rest and with a stopped instance, and its figures as they change."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import look_at
from tests.servers import free_port
from tests.stacks import NativeStack, Stack, running

pytestmark = pytest.mark.long

STOPPED = "site-b"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Instead of the session's stack, which has no metrics."""
    variables = {"METRICS_PORT": str(free_port()), "STACK_PAGE": "everybody", "CORES": "1"}
    with running(NativeStack, variables) as stack:
        yield stack


def test_the_stack_page(visitor: Callable[..., Page], stack: Stack) -> None:
    page = visitor()

    def states() -> Iterator[str]:
        page.goto("/stack/")
        card = page.get_by_role("listitem").filter(has_text=STOPPED)
        expect(card).to_contain_text("in rotation")
        yield "stack"
        stack.stop(STOPPED)
        # The page changes by itself.
        expect(card).to_contain_text("not ready")
        yield "stack-stopped"
        stack.start(STOPPED)
        expect(card).to_contain_text("in rotation")

    look_at(page, states())


def test_without_javascript(visitor: Callable[..., Page]) -> None:
    page = visitor(java_script_enabled=False)
    page.goto("/stack/")
    expect(page.get_by_role("listitem").filter(has_text=STOPPED)).to_contain_text("in rotation")
