"""What people vote on in these tests."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.people import CSRF, Person
from tests.sample import Subject
from tests.stacks import AnyStack


def vote_on_site(person: Person, question: int, choice: int) -> httpx.Response:
    with person.client() as client:
        form = {"choice": choice, "csrfmiddlewaretoken": CSRF}
        return client.post(f"/questions/{question}/vote/", data=form)


def vote_by_api(person: Person, question: int, choice: int) -> httpx.Response:
    with person.client() as client:
        return client.post(f"/api/v1/questions/{question}/votes", json={"choice": choice})


@pytest.fixture(scope="session")
def ask(stack: AnyStack, people: Iterator[Person]) -> Callable[..., Subject]:
    """`ask()` is a new question with two choices; `closes_at`, `files` and the like go into the form."""
    author = next(people)

    def ask(files: dict[str, Any] | None = None, **fields: str) -> Subject:
        form = {"text": "Tea or coffee?", "choices": "Tea\nCoffee", "csrfmiddlewaretoken": CSRF} | fields
        with author.client() as client:
            answer = client.post("/questions/new/", data=form, files=files)
            assert answer.status_code == 302, answer.text
            number = int(answer.headers["Location"].strip("/").split("/")[-1])
            choices = client.get(f"/api/v1/questions/{number}/results").json()["choices"]
        return Subject(number, tuple(choice["id"] for choice in choices))

    return ask


@pytest.fixture(scope="session")
def question(ask: Callable[..., Subject]) -> Subject:
    """An open one that all may vote on."""
    return ask()
