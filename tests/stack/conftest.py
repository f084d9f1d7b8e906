"""Who uses the stack in these tests, and what they vote on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.stacks import AnyStack

# Signing up costs a password's hash, made to be slow; here only their votes are of interest.
MAKE_PEOPLE = """
import json
import secrets
from accounts.models import Token
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

people, name = [], secrets.token_hex(4)
for user in User.objects.bulk_create(User(username=f"{name}-{n}", password="!") for n in range(COUNT)):
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    cookies = {settings.SESSION_COOKIE_NAME: session, settings.CSRF_COOKIE_NAME: "c" * 32}
    people.append({"name": user.username, "cookies": cookies, "token": Token.objects.issue(user, "test")})
print(json.dumps(people))
"""
CSRF = "c" * 32


@dataclass
class Person:
    """Somebody with a session on the site and a token for the api."""

    stack: AnyStack
    name: str
    cookies: dict[str, str]
    token: str

    def client(self) -> httpx.Client:
        """Logged in on the site, and with the token for the api."""
        headers = {"Authorization": f"Bearer {self.token}", "Origin": self.stack.url}
        return self.stack.client(cookies=self.cookies, headers=headers)

    def vote_on_site(self, question: int, choice: int) -> httpx.Response:
        with self.client() as client:
            form = {"choice": choice, "csrfmiddlewaretoken": CSRF}
            return client.post(f"/questions/{question}/vote/", data=form)

    def vote_by_api(self, question: int, choice: int) -> httpx.Response:
        with self.client() as client:
            return client.post(f"/api/v1/questions/{question}/votes", json={"choice": choice})


@dataclass
class Question:
    id: int
    choices: list[int]


@pytest.fixture(scope="session")
def people(stack: AnyStack) -> Iterator[Person]:
    """`next(people)` is somebody who has not voted yet."""
    made = stack.manage("shell", "--verbosity=0", "--command", MAKE_PEOPLE.replace("COUNT", "200"))
    return (Person(stack, **one) for one in json.loads(made))


@pytest.fixture(scope="session")
def ask(stack: AnyStack, people: Iterator[Person]) -> Callable[..., Question]:
    """`ask()` is a new question with two choices; `closes_at`, `files` and the like go into the form."""
    author = next(people)

    def ask(files: dict[str, Any] | None = None, **fields: str) -> Question:
        form = {"text": "Tea or coffee?", "choices": "Tea\nCoffee", "csrfmiddlewaretoken": CSRF} | fields
        with author.client() as client:
            answer = client.post("/questions/new/", data=form, files=files)
            assert answer.status_code == 302, answer.text
            number = int(answer.headers["Location"].strip("/").split("/")[-1])
            choices = client.get(f"/api/v1/questions/{number}/results").json()["choices"]
        return Question(number, [choice["id"] for choice in choices])

    return ask


@pytest.fixture(scope="session")
def question(ask: Callable[..., Question]) -> Question:
    """An open one that all may vote on."""
    return ask()
