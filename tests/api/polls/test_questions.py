"""Questions, and errors in requests for them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.api.checks import methods, problem
from tests.api.polls.questions import ask, delete, vote
from tests.api.served import Served
from tests.api.tokens import bearer
from tests.api.watching import newest, news, watch


async def test_questions(api: Served) -> None:
    now = datetime.now(UTC)
    ids = [(await ask(api, text=f"Question {n}")).id for n in range(21)]
    closed = await ask(api, closes_at=now - timedelta(seconds=1))
    closes = await ask(api, closes_at=now + timedelta(hours=1))

    first = (await api.client.get("/api/v1/questions")).json()
    second = (await api.client.get("/api/v1/questions", params={"page": 2})).json()
    assert [first["page"], first["next"], second["page"]] == [1, 2, 2]
    listed = [question["id"] for question in first["questions"] + second["questions"]]
    assert listed[:23] == [closes.id, closed.id, *reversed(ids)]
    assert len(first["questions"]) == 20

    states = {
        state: [q["id"] for q in (await api.client.get(f"/api/v1/questions?state={state}")).json()["questions"]]
        for state in ("open", "closed")
    }
    assert states["open"][:2] == [closes.id, ids[-1]]
    assert states["closed"][0] == closed.id
    assert closes.id not in states["closed"]


async def test_question(api: Served) -> None:
    asked = await ask(api, "Red", "Blue", text="Which?")
    answer = (await api.client.get(f"/api/v1/questions/{asked.id}")).json()
    created_at = datetime.fromisoformat(answer.pop("created_at"))
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)
    assert answer == {
        "id": asked.id,
        "text": "Which?",
        "picture": None,
        "closes_at": None,
        "version": 0,
        "choices": [{"id": asked.choices[0], "text": "Red"}, {"id": asked.choices[1], "text": "Blue"}],
    }


async def test_results_and_their_etag(api: Served) -> None:
    closes_at = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
    asked = await ask(api, "Red", "Blue", closes_at=closes_at)
    for choice in (0, 1, 1):
        assert (await vote(api, asked, choice)).status_code == 201
    response = await api.client.get(asked.newest)
    assert response.json() == {
        "question": asked.id,
        "version": 3,
        "closes_at": "2100-01-02T03:04:05Z",
        "total": 3,
        "choices": [
            {"id": asked.choices[0], "text": "Red", "votes": 1},
            {"id": asked.choices[1], "text": "Blue", "votes": 2},
        ],
    }
    assert response.headers["ETag"] == '"3"'
    again = await api.client.get(asked.newest, headers={"If-None-Match": '"3"'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"3"')
    await vote(api, asked)
    assert (await api.client.get(asked.newest, headers={"If-None-Match": '"3"'})).status_code == 200


async def test_only_results_have_an_etag(api: Served) -> None:
    asked = await ask(api)
    for path in ("/api/v1/questions", f"/api/v1/questions/{asked.id}", asked.long_poll, "/api/openapi.json"):
        assert "ETag" not in (await api.client.get(path)).headers


@pytest.mark.parametrize("id", ["0", "999999999", str(2**63 - 1), str(2**63), "9" * 19, "9" * 5000])
@pytest.mark.parametrize("path", ["", "/results", "/events", "/socket", "/poll"])
async def test_unknown_question(api: Served, path: str, id: str) -> None:
    live = "live/" if path in ("/events", "/socket", "/poll") else ""
    problem(await api.client.get(f"/api/v1/{live}questions/{id}{path}"), 404)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=sideways", "state"),
        ("state=", "state"),
        ("page=x", "page"),
        ("page=0", "page"),
        ("page=10001", "page"),
        ("page=1.5", "page"),
        ("pages=1", "pages"),
    ],
)
async def test_bad_query(api: Served, query: str, name: str) -> None:
    errors = problem(await api.client.get(f"/api/v1/questions?{query}"), 422)["errors"]
    assert [error["field"] for error in errors] == [name]


async def test_query_that_is_not_text(api: Served) -> None:
    problem(await api.client.get("/api/v1/questions?state=%ff"), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"choice": 1} x', b"nan"])
async def test_malformed_json(api: Served, body: bytes) -> None:
    asked = await ask(api)
    headers = bearer() | {"Content-Type": "application/json"}
    problem(await api.client.post(asked.post, content=body, headers=headers), 400)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "$.choice"),
        ({"choice": "1"}, "$.choice"),
        ({"choice": 1.5}, "$.choice"),
        ({"choice": True}, "$.choice"),
        ({"choice": None}, "$.choice"),
        ({"choice": [1]}, "$.choice"),
        ({"choice": 1, "count": 1000}, "$.count"),
        ([], "$"),
        (None, "$"),
        ("choice", "$"),
    ],
)
async def test_body_of_the_wrong_shape(api: Served, body: Any, field: str) -> None:
    asked = await ask(api)
    headers = bearer() | {"Content-Type": "application/json"}
    errors = problem(await api.client.post(asked.post, content=json.dumps(body), headers=headers), 422)["errors"]
    assert [error["field"] for error in errors] == [field]
    assert (await newest(api, asked))["total"] == 0


@pytest.mark.parametrize("choice", [0, -1, 999_999_999, 2**63, 10**30])
async def test_unknown_choice(api: Served, choice: int) -> None:
    asked = await ask(api)
    problem(await api.client.post(asked.post, json={"choice": choice}, headers=bearer()), 404)


async def test_choice_of_another_question(api: Served) -> None:
    asked, other = await ask(api), await ask(api)
    problem(await api.client.post(asked.post, json={"choice": other.choices[0]}, headers=bearer()), 404)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_body_of_another_kind(api: Served, kind: str | None) -> None:
    asked = await ask(api)
    content = json.dumps({"choice": asked.choices[0]}).encode()
    headers = bearer() | ({"Content-Type": kind} if kind else {})
    response = await api.client.post(asked.post, content=content, headers=headers)
    # Tornado itself refuses multipart that has no boundary.
    problem(response, 400 if kind == "multipart/form-data" else 415)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/questions", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1/results", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1/votes", {"POST", "OPTIONS"}),
    ],
)
async def test_methods(api: Served, path: str, allowed: set[str]) -> None:
    await methods(api, path, allowed)


async def test_deleted_question(api: Served) -> None:
    asked = await ask(api)
    async with watch(api, asked) as events, connect(f"ws://{api.address}{asked.socket}") as connection:
        await news(events)
        await connection.recv()
        await delete(api, asked)
        async for block in events:
            assert "data" not in block
        await connection.wait_closed()
        assert connection.close_code == 1000
    problem(await api.client.get(asked.events), 404)
