"""Makes questions and votes on them."""

from datetime import datetime

import httpx
import sqlalchemy as sa

from tests.api.served import Served
from tests.api.tokens import VOTERS, bearer
from tornado_api.polls import store


class Question:
    """A question's id, its choices' ids, and its paths."""

    def __init__(self, id: int, choices: list[int]) -> None:
        self.id = id
        self.choices = choices
        self.newest = f"/api/v1/questions/{id}/results"
        self.post = f"/api/v1/questions/{id}/votes"
        self.events, self.socket, self.long_poll = (
            f"/api/v1/live/questions/{id}/{way}" for way in ("events", "socket", "poll")
        )


async def ask(api: Served, *choices: str, closes_at: datetime | None = None, text: str = "Tea?") -> Question:
    async with api.app.database.engine.begin() as connection:
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
    return Question(id, ids)


async def vote(
    api: Served, question: Question, choice: int = 0, user: int | None = None, key: str | None = None
) -> httpx.Response:
    """Vote as this user, or as another one each time."""
    headers = bearer(user or next(VOTERS)) | ({} if key is None else {"Idempotency-Key": key})
    return await api.client.post(question.post, json={"choice": question.choices[choice]}, headers=headers)
