"""What tests of any api write and watch here: votes on a question."""

import itertools
from datetime import datetime
from typing import Any

import httpx
import sqlalchemy as sa

from tests.api.tokens import USERS, bearer
from tornado_api.app import Api
from tornado_api.polls import store


class Subject:
    """A question."""

    def __init__(self, id: int, choices: list[int]) -> None:
        self.id = id
        self.choices = choices
        self.newest = f"/api/v1/questions/{id}/results"
        # The last is watched by nobody, and need not be there.
        another = f"/api/v1/live/questions/{id + 1}/poll"
        self.reads = ["/api/v1/questions", f"/api/v1/questions/{id}", self.newest, another]
        self.post = f"/api/v1/questions/{id}/votes"
        self.events = f"/api/v1/live/questions/{id}/events"
        self.socket = f"/api/v1/live/questions/{id}/socket"
        self.poll = f"/api/v1/live/questions/{id}/poll"

    def request(self, user: int) -> dict[str, Any]:
        """That writes to it, as httpx takes it."""
        return {"url": self.post, "json": {"choice": self.choices[0]}, "headers": bearer(user)}


class Sample:
    app: Api
    client: httpx.AsyncClient
    # Everybody but the last votes in turn.
    users = itertools.cycle(range(1, USERS))

    async def fresh(self) -> Subject:
        """What nobody has written to: its version is 0."""
        return await self.ask()

    async def write(self, subject: Subject, headers: dict[str, str] | None = None) -> httpx.Response:
        """By somebody else each time, or with these headers in place of a token."""
        request = subject.request(next(self.users))
        return await self.client.post(**(request if headers is None else request | {"headers": headers}))

    async def ask(self, *choices: str, closes_at: datetime | None = None, text: str = "Tea?") -> Subject:
        async with self.app.store.engine.begin() as connection:
            new = sa.insert(store.question).values(text=text, picture="", closes_at=closes_at)
            id = await connection.scalar(new.returning(store.question.c.id))
            ids = [
                await connection.scalar(
                    sa.insert(store.choice)
                    .values(question_id=id, text=text, position=position)
                    .returning(store.choice.c.id)
                )
                for position, text in enumerate(choices or ("Yes", "No"))
            ]
        return Subject(id, ids)

    async def vote(
        self, subject: Subject, choice: int = 0, user: int | None = None, key: str | None = None
    ) -> httpx.Response:
        headers = bearer(user or next(self.users)) | ({} if key is None else {"Idempotency-Key": key})
        return await self.client.post(subject.post, json={"choice": subject.choices[choice]}, headers=headers)

    async def write_elsewhere(self, subject: Subject) -> int:
        """What another process took, and of which this one is told nothing; the new version."""
        return await self.app.store.vote(subject.id, subject.choices[0], next(self.users))

    async def newest(self, subject: Subject) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get(subject.newest)).json()
        return answer
