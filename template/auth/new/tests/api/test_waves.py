"""One wave for each key of a user's, counted exactly, and never taken back."""

import asyncio
from collections import Counter

import httpx
import pytest
import sqlalchemy as sa

from tests.api.sample import Subject
from tests.api.served import Served
from tests.api.test_requests import methods, problem
from tests.api.tokens import bearer
from tests.environment import manage
from tornado_api.database import user as users


async def send(api: Served, user: int, key: str) -> httpx.Response:
    return await api.client.post(**Subject().request(user, key))


async def test_wave(api: Served) -> None:
    subject = await api.fresh()
    assert (await api.client.get(subject.newest)).json() == {"version": 0, "total": 0}
    response = await api.write(subject)
    assert (response.status_code, response.json()) == (201, {"version": 1, "total": 1})
    assert await api.newest(subject) == {"version": 1, "total": 1}


async def test_methods(api: Served) -> None:
    await methods(api, "/api/v1/waves", {"GET", "HEAD", "POST", "OPTIONS"})


async def test_wave_sent_again(api: Served) -> None:
    subject = await api.fresh()
    answers = [await send(api, user=1, key="one") for _ in range(2)]
    assert [(answer.status_code, answer.json()["total"]) for answer in answers] == [(201, 1)] * 2
    assert (await send(api, user=1, key="two")).json()["total"] == 2
    # The key is the user's own.
    assert (await send(api, user=2, key="one")).json()["total"] == 3
    assert (await api.newest(subject))["total"] == 3


@pytest.mark.parametrize("key", [None, "", "x" * 65, "one two", "one\ttwo", "é"])
async def test_key_that_is_none(api: Served, key: str | None) -> None:
    subject = await api.fresh()
    headers = httpx.Headers(bearer() | ({} if key is None else {"Idempotency-Key": key}), encoding="utf-8")
    problem(await api.client.post(subject.post, headers=headers), 400)
    assert (await api.newest(subject))["total"] == 0
    assert (await send(api, user=1, key="!" * 63 + "~")).status_code == 201


async def test_user_who_was_deactivated(api: Served) -> None:
    subject = await api.fresh()
    async with api.app.store.engine.begin() as connection:
        user = await connection.scalar(sa.select(sa.func.max(users.c.id)).where(users.c.is_active))
    assert user
    assert (await send(api, user, "one")).status_code == 201
    async with api.app.store.engine.begin() as connection:
        await connection.execute(sa.update(users).where(users.c.id == user).values(is_active=False))
    for key in ("one", "two"):
        problem(await send(api, user, key), 401)
    assert (await api.newest(subject))["total"] == 1


async def test_one_wave_sent_many_times_at_once(api: Served) -> None:
    subject = await api.fresh()
    answers = await asyncio.gather(*(send(api, user=1, key="one") for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 50}
    assert (await api.newest(subject))["total"] == 1


async def test_many_waves_at_once(api: Served) -> None:
    subject = await api.fresh()
    answers = await asyncio.gather(*(api.write(subject) for _ in range(60)))
    assert Counter(answer.status_code for answer in answers) == {201: 60}
    assert await api.newest(subject) == {"version": 60, "total": 60}


async def test_site_and_api_write_the_same_row(api: Served, database_url: str) -> None:
    """The constraint that Django made is what makes a wave that is sent again the same, whoever took the first."""
    subject = await api.fresh()
    made = "from home.models import Wave; Wave.objects.create(user_id=1, key='one')"
    await asyncio.to_thread(manage, "shell", "-v0", "-c", made, DATABASE_URL=database_url)
    assert (await send(api, user=1, key="one")).json()["total"] == 1
    assert (await send(api, user=2, key="one")).json()["total"] == 2
    async with api.app.store.engine.connect() as connection:
        every = sa.text("SELECT * FROM home_wave ORDER BY user_id")
        theirs, ours = (await connection.execute(every)).mappings().all()
    assert theirs["key"] == ours["key"]
    assert type(theirs["created_at"]) is type(ours["created_at"])
    assert len(str(theirs["created_at"])) == len(str(ours["created_at"]))
    assert (await api.newest(subject))["total"] == 2
