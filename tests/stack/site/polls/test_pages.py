"""The pages of polls through nginx."""

from collections.abc import Iterator

import pytest

from tests.people import Person
from tests.sample import PAGE, SITE_POST, write_on_site
from tests.stack.checks import MB, check_error, check_headers, check_response
from tests.stack.site.test_limits import check_method
from tests.stacks import Stack


@pytest.mark.parametrize(("path", "status"), [("/", 200), (PAGE, 200), ("/questions/new/", 302)])
def test_each_kind_of_response(stack: Stack, path: str, status: int) -> None:
    check_response(stack, "GET", path, status)


@pytest.mark.parametrize(("method", "path", "allowed"), [("DELETE", "/", {"GET"}), ("GET", SITE_POST, {"POST"})])
def test_wrong_method(stack: Stack, method: str, path: str, allowed: set[str]) -> None:
    check_method(stack, method, path, allowed)


def test_a_vote(people: Iterator[Person]) -> None:
    person = next(people)
    with person.client() as client:
        response = write_on_site(client)
        assert response.status_code == 302, response.text
        check_headers(person.stack, response.headers.multi_items())
        # The second vote of the same person.
        check_error(write_on_site(client), 409, "html")


def test_a_form_without_its_secret(people: Iterator[Person]) -> None:
    with next(people).client() as client:
        check_error(client.post(SITE_POST), 403, "html")


def test_a_form_that_is_too_large(stack: Stack) -> None:
    limit = int(stack.setting("UPLOAD_LIMIT_MB")) * MB
    with stack.client() as client:
        check_error(client.post(SITE_POST, content=bytes(limit + 1)), 413, "html")
