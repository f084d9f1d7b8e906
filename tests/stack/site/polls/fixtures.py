"""People who vote, and questions that they ask."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.people import CSRF, Person, make
from tests.sample import Subject
from tests.stacks import Stack


def vote_on_site(person: Person, question: int, choice: int) -> httpx.Response:
    with person.client() as client:
        form = {"choice": choice, "csrfmiddlewaretoken": CSRF}
        return client.post(f"/questions/{question}/vote/", data=form)


@pytest.fixture(scope="session")
def people(stack: Stack) -> Iterator[Person]:
    """`next(people)` is a person who has not voted yet."""
    return iter(make(stack, 150))


@pytest.fixture(scope="session")
def ask(people: Iterator[Person]) -> Callable[..., Subject]:
    """`ask()` makes a question with two choices. `closes_at`, `files` and the like go into the form."""
    author = next(people)

    def ask(files: dict[str, Any] | None = None, **fields: str) -> Subject:
        form = {"text": "Tea or coffee?", "choices": "Tea\nCoffee", "csrfmiddlewaretoken": CSRF} | fields
        with author.client() as client:
            answer = client.post("/questions/new/", data=form, files=files)
            assert answer.status_code == 302, answer.text
            page = client.get(answer.headers["Location"]).text
        number = int(answer.headers["Location"].strip("/").split("/")[-1])
        return Subject(number, tuple(map(int, re.findall(r'name="choice" value="(\d+)"', page))))

    return ask


@pytest.fixture(scope="session")
def question(ask: Callable[..., Subject]) -> Subject:
    """An open question that all may vote on."""
    return ask()
