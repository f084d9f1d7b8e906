"""Makes questions and votes on them."""

from datetime import datetime

import httpx

from tests.api.served import Served
from tests.api.tokens import VOTERS, bearer

NEW_QUESTION = "INSERT INTO polls_question (text, picture, closes_at) VALUES (:text, '', :closes_at) RETURNING id"
NEW_CHOICE = "INSERT INTO polls_choice (question_id, text, position) VALUES (:id, :text, :position) RETURNING id"


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
    execute = api.app.database.execute
    [(id,)] = await execute(NEW_QUESTION, text=text, closes_at=closes_at)
    texts = enumerate(choices or ("Yes", "No"))
    rows = [await execute(NEW_CHOICE, id=id, text=text, position=position) for position, text in texts]
    return Question(id, [choice for [(choice,)] in rows])


async def delete(api: Served, question: Question) -> None:
    for table, column in (("vote", "question_id"), ("choice", "question_id"), ("question", "id")):
        await api.app.database.execute(f"DELETE FROM polls_{table} WHERE {column} = :id", id=question.id)  # noqa: S608


async def vote(
    api: Served, question: Question, choice: int = 0, user: int | None = None, key: str | None = None
) -> httpx.Response:
    """Vote as this user, or as another one each time."""
    headers = bearer(user or next(VOTERS)) | ({} if key is None else {"Idempotency-Key": key})
    return await api.client.post(question.post, json={"choice": question.choices[choice]}, headers=headers)
