"""One vote for each question and user, counted exactly, and never taken back."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tests.api.served import Served, manage
from tests.api.test_requests import problem
from tornado_api import store


async def test_vote(api: Served) -> None:
    asked = await api.ask()
    response = await api.vote(asked, 1)
    assert response.status_code == 201
    assert response.json() == {"question": asked.id, "choice": asked.choices[1], "version": 1}
    assert [choice["votes"] for choice in (await api.results(asked))["choices"]] == [0, 1]


async def test_voting_twice(api: Served) -> None:
    asked = await api.ask()
    assert (await api.vote(asked, 0, user=1)).status_code == 201
    for choice in (0, 1):
        problem(await api.vote(asked, choice, user=1), 409)
    results = await api.results(asked)
    assert [choice["votes"] for choice in results["choices"]] == [1, 0]
    assert results["version"] == 1


async def test_closed_question(api: Served) -> None:
    asked = await api.ask(closes_at=datetime.now(UTC) - timedelta(seconds=1))
    problem(await api.vote(asked), 410)
    assert (await api.results(asked))["total"] == 0


async def test_user_who_was_deactivated(api: Served) -> None:
    asked = await api.ask()
    async with api.app.store.engine.begin() as connection:
        user = await connection.scalar(sa.select(sa.func.max(store.user.c.id)))
        await connection.execute(sa.update(store.user).where(store.user.c.id == user).values(is_active=False))
    problem(await api.vote(asked, user=user), 401)


async def test_many_double_votes_at_once(api: Served) -> None:
    asked = await api.ask()
    answers = await asyncio.gather(*(api.vote(asked, n % 2, user=1) for n in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 49}
    async with api.app.store.engine.connect() as connection:
        rows = sa.select(sa.func.count()).select_from(store.vote).where(store.vote.c.question_id == asked.id)
        assert await connection.scalar(rows) == 1
    assert (await api.results(asked))["version"] == 1


async def test_many_voters_at_once(api: Served) -> None:
    asked = await api.ask()
    answers = await asyncio.gather(*(api.vote(asked, n % 2) for n in range(60)))
    # Each vote is a version of its own, in which it is counted.
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 61))
    results = await api.results(asked)
    assert ([choice["votes"] for choice in results["choices"]], results["version"]) == ([30, 30], 60)


async def test_site_and_api_write_the_same_row(api: Served, database_url: str) -> None:
    """The constraint that Django made is what refuses the second vote, whoever took the first."""
    asked = await api.ask()
    cast = f"from polls.models import Vote; Vote.cast({asked.id}, {asked.choices[0]}, 1)"
    await asyncio.to_thread(manage, "shell", "-v0", "-c", cast, DATABASE_URL=database_url)
    problem(await api.vote(asked, user=1), 409)
    assert (await api.vote(asked, user=2)).status_code == 201
    async with api.app.store.engine.connect() as connection:
        every = sa.text("SELECT * FROM polls_vote WHERE question_id = :id ORDER BY voter_id").bindparams(id=asked.id)
        theirs, ours = (await connection.execute(every)).mappings().all()
    same = ("question_id", "choice_id")
    assert [theirs[name] for name in same] == [ours[name] for name in same]
    assert type(theirs["created_at"]) is type(ours["created_at"])
    assert len(str(theirs["created_at"])) == len(str(ours["created_at"]))
