"""Users with a session on the site and a token for the api."""

import json
from dataclasses import dataclass

import httpx

from tests.stacks import Stack

# A sign-up would compute a slow password hash for each.
MAKE = """
import json
import secrets
from django.conf import settings
from accounts.models import User
from django.test import Client
from tokens.models import Token

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
    stack: Stack
    name: str
    cookies: dict[str, str]
    token: str

    def client(self) -> httpx.Client:
        """Return a client that is logged in on the site and sends the token."""
        headers = {"Authorization": f"Bearer {self.token}", "Origin": self.stack.url}
        return self.stack.client(cookies=self.cookies, headers=headers)

    @property
    def cookie(self) -> str:
        """Return the Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


def make(stack: Stack, count: int) -> list[Person]:
    made = stack.manage("shell", "--verbosity=0", "--command", MAKE.replace("COUNT", str(count)))
    return [Person(stack, **one) for one in json.loads(made)]
