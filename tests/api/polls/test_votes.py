"""One vote for each question and user, counted exactly and never lost."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.checks import problem
from tests.api.polls.questions import Question, ask, vote
from tests.api.served import Served
from tests.api.tokens import bearer, owner
from tests.api.watching import newest
from tornado_api import database
from tornado_api.database import Connection, Database, NoUser, Row
from tornado_api.polls.store import AlreadyVoted, Closed, KeyReused, PollStore


async def test_vote(api: Served) -> None:
    asked = await ask(api)
    response = await vote(api, asked, 1)
    assert response.status_code == 201
    assert response.json() == {"question": asked.id, "choice": asked.choices[1], "version": 1}
    assert [choice["votes"] for choice in (await newest(api, asked))["choices"]] == [0, 1]


async def test_voting_twice(api: Served) -> None:
    asked = await ask(api)
    assert (await vote(api, asked, 0, user=1)).status_code == 201
    for choice in (0, 1):
        problem(await vote(api, asked, choice, user=1), 409)
    results = await newest(api, asked)
    assert [choice["votes"] for choice in results["choices"]] == [1, 0]
    assert results["version"] == 1


async def test_closed_question(api: Served) -> None:
    asked = await ask(api, closes_at=datetime.now(UTC) - timedelta(seconds=1))
    problem(await vote(api, asked), 410)
    assert (await newest(api, asked))["total"] == 0


async def test_vote_sent_again(api: Served) -> None:
    asked = await ask(api)
    first = await vote(api, asked, 1, user=1, key="one")
    assert (await vote(api, asked, 0, user=2)).status_code == 201
    again = await vote(api, asked, 1, user=1, key="one")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == {"question": asked.id, "choice": asked.choices[1], "version": 1}
    assert again.json() == first.json() | {"version": 2}
    problem(await vote(api, asked, 0, user=1, key="one"), 422)
    problem(await vote(api, asked, 1, user=1, key="two"), 409)
    problem(await vote(api, asked, 1, user=1), 409)
    # A repeated vote without a key does not match a vote without a key.
    problem(await vote(api, asked, 0, user=2), 409)
    # A key belongs to its voter.
    assert (await vote(api, asked, 0, user=3, key="one")).status_code == 201
    problem(await vote(api, asked, 0, user=2, key="one"), 409)
    results = await newest(api, asked)
    assert ([choice["votes"] for choice in results["choices"]], results["version"]) == ([2, 1], 3)


async def test_vote_sent_again_after_the_question_has_closed(api: Served) -> None:
    asked = await ask(api)
    assert (await vote(api, asked, 1, user=1, key="one")).status_code == 201
    execute = api.app.database.execute
    await execute("UPDATE polls_question SET closes_at = :now WHERE id = :id", now=datetime.now(UTC), id=asked.id)
    again = await vote(api, asked, 1, user=1, key="one")
    assert (again.status_code, again.json()["version"]) == (201, 1)
    problem(await vote(api, asked, 0, user=1, key="one"), 422)
    problem(await vote(api, asked, 1, user=1, key="two"), 409)
    problem(await vote(api, asked, 1, user=2, key="one"), 410)
    await execute("DELETE FROM polls_vote WHERE question_id = :id", id=asked.id)
    await execute("DELETE FROM polls_choice WHERE id = :id", id=asked.choices[1])
    problem(await vote(api, asked, 1, user=1, key="one"), 404)


@pytest.mark.parametrize("key", ["", "x" * 65, "one two", "one\ttwo", "é"])
async def test_malformed_idempotency_keys(api: Served, key: str) -> None:
    asked = await ask(api)
    headers = httpx.Headers(bearer() | {"Idempotency-Key": key}, encoding="utf-8")
    problem(await api.client.post(asked.post, json={"choice": asked.choices[0]}, headers=headers), 400)
    assert (await newest(api, asked))["total"] == 0
    assert (await vote(api, asked, key="!" * 63 + "~")).status_code == 201


async def newest_user(api: Served) -> int:
    [(user,)] = await api.app.database.read("SELECT MAX(id) FROM accounts_user WHERE is_active")
    return int(user)


async def deactivate(api: Served, user: int) -> None:
    await api.app.database.execute("UPDATE accounts_user SET is_active = FALSE WHERE id = :id", id=user)


async def test_user_who_was_deactivated(api: Served) -> None:
    asked = await ask(api)
    user = await newest_user(api)
    await deactivate(api, user)
    problem(await vote(api, asked, user=user), 401)


async def test_user_who_was_deactivated_sends_a_vote_again(api: Served) -> None:
    asked = await ask(api)
    user = await newest_user(api)
    assert (await vote(api, asked, user=user, key="one")).status_code == 201
    await deactivate(api, user)
    problem(await vote(api, asked, user=user, key="one"), 401)


@pytest.mark.slow
async def test_many_double_votes_at_once(api: Served) -> None:
    asked = await ask(api)
    answers = await asyncio.gather(*(vote(api, asked, n % 2, user=1) for n in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 49}
    counted = await api.app.database.read("SELECT COUNT(*) FROM polls_vote WHERE question_id = :id", id=asked.id)
    assert counted == [(1,)]
    assert (await newest(api, asked))["version"] == 1


async def test_one_vote_sent_many_times_at_once(api: Served) -> None:
    asked = await ask(api)
    answers = await asyncio.gather(*(vote(api, asked, user=1, key="one") for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 50}
    assert {answer.json()["version"] for answer in answers} == {1}
    assert (await newest(api, asked))["total"] == 1


async def test_a_vote_takes_one_round_trip(api: Served, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_sqlite = database_url.startswith("sqlite:")
    kind: Any = database.SQLiteConnection if is_sqlite else database.PostgreSQLConnection
    executed: list[str] = []
    execute = kind.execute

    def record(self: Connection, sql: str, **values: Any) -> list[Row]:
        executed.append(sql)
        found: list[Row] = execute(self, sql, **values)
        return found

    monkeypatch.setattr(kind, "execute", record)
    asked = await ask(api)
    executed.clear()
    assert (await vote(api, asked)).status_code == 201
    # SQLite needs no round trips: BEGIN, two statements, and COMMIT.
    assert len(executed) == (4 if is_sqlite else 1), executed


async def outcome(store: PollStore, asked: Question, voter: int, choice: int, key: str) -> str:
    try:
        await store.vote(asked.id, asked.choices[choice], owner(voter), key)
    except (AlreadyVoted, Closed, KeyReused, NoUser) as error:
        return type(error).__name__
    return "counted"


@pytest.mark.slow
async def test_64_writers_at_once(api: Served, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections vote on two questions. One closes during the votes, and the last voter is deactivated."""
    # Longer, because SQLite lets one after the other write, and each waits for the disk.
    monkeypatch.setattr(database, "DATABASE_DEADLINE", 60)
    asked, closing = await ask(api), await ask(api)
    last = await newest_user(api)
    databases = [Database(database_url, "writer") for _ in range(16)]
    stores = [PollStore(each) for each in databases]
    # Each voter sends a vote twice with one key, and then another choice with this key and without one.
    votes = [(voter, *rest) for voter in range(1, 49) for rest in ((0, "key"), (0, "key"), (1, "key"), (1, ""))]
    sent = [outcome(stores[n % 16], asked, *each) for n, each in enumerate(votes)]
    sent += [outcome(stores[voter % 16], closing, voter, 0, "") for voter in range(1, 49)]
    sent += [outcome(stores[n], asked, last, 0, "key") for n in range(16)]

    async def change() -> str:
        await asyncio.sleep(0.2)
        now = datetime.now(UTC)
        await api.app.database.execute(
            "UPDATE polls_question SET closes_at = :now WHERE id = :id", now=now, id=closing.id
        )
        await deactivate(api, last)
        return "changed"

    found = await asyncio.gather(*sent, change())
    for each in databases:
        await each.close()
    # Whichever came first, the other three got the answer that belongs to it.
    right = {("counted", "counted", "KeyReused", "AlreadyVoted"), ("KeyReused", "KeyReused", "counted", "AlreadyVoted")}
    right.add(("AlreadyVoted", "AlreadyVoted", "AlreadyVoted", "counted"))
    assert {tuple(found[n : n + 4]) for n in range(0, 192, 4)} <= right
    assert set(found[192:240]) <= {"counted", "Closed"}
    assert set(found[240:256]) <= {"counted", "NoUser"}
    for question, total in ((asked, 48 + ("counted" in found[240:])), (closing, found[192:240].count("counted"))):
        tally = await newest(api, question)
        assert (tally["total"], tally["version"]) == (total, total)


@pytest.mark.slow
async def test_many_voters_at_once(api: Served) -> None:
    asked = await ask(api)
    answers = await asyncio.gather(*(vote(api, asked, n % 2) for n in range(60)))
    # Each vote makes a new version, which counts it.
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 61))
    results = await newest(api, asked)
    assert ([choice["votes"] for choice in results["choices"]], results["version"]) == ([30, 30], 60)
