"""What the api answers to short requests, and to those that are wrong."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.served import Served, bearer, token
from tornado_api.limits import MAX_BODY


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


async def test_questions(api: Served) -> None:
    now = datetime.now(UTC)
    ids = [(await api.ask(text=f"Question {n}")).id for n in range(21)]
    closed = await api.ask(closes_at=now - timedelta(seconds=1))
    closes = await api.ask(closes_at=now + timedelta(hours=1))

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
    asked = await api.ask("Red", "Blue", text="Which?")
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
    asked = await api.ask("Red", "Blue", closes_at=closes_at)
    for choice in (0, 1, 1):
        assert (await api.vote(asked, choice)).status_code == 201
    response = await api.client.get(asked.results)
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
    again = await api.client.get(asked.results, headers={"If-None-Match": '"3"'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"3"')
    await api.vote(asked)
    assert (await api.client.get(asked.results, headers={"If-None-Match": '"3"'})).status_code == 200


async def test_only_results_have_an_etag(api: Served) -> None:
    asked = await api.ask()
    for path in ("/api/v1/questions", f"/api/v1/questions/{asked.id}", asked.poll, "/api/openapi.json"):
        assert "ETag" not in (await api.client.get(path)).headers


async def test_head(api: Served) -> None:
    asked = await api.ask()
    for path in ("/api/v1/questions", asked.results, "/api/openapi.json", "/api/"):
        get, head = await api.client.get(path), await api.client.head(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/questions", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1/results", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/questions/1/votes", {"POST", "OPTIONS"}),
        ("/api/v1/live/questions/1/events", {"GET", "OPTIONS"}),
        ("/api/v1/live/questions/1/socket", {"GET", "OPTIONS"}),
        ("/api/v1/live/questions/1/poll", {"GET", "OPTIONS"}),
        ("/api/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_methods(api: Served, path: str, allowed: set[str]) -> None:
    options = await api.client.options(path)
    assert options.status_code == 204
    assert set(options.headers["Allow"].split(", ")) == allowed
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW"} - allowed:
        response = await api.client.request(method, path)
        assert response.status_code == 405, method
        assert set(response.headers["Allow"].split(", ")) == allowed
        if method != "HEAD":
            problem(response, 405)


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v1/", "/api/v1/questions/", "/api/v1/questions/x", "/api/v1/questions/-1", "/api/docs.html"],
)
async def test_unknown_address(api: Served, path: str) -> None:
    problem(await api.client.get(path), 404)


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


@pytest.mark.parametrize(
    "query", ["after=x", "after=-2", f"after={2**63}", "wait=-1", "wait=15.1", "wait=nan", "wait=1e99"]
)
async def test_bad_long_poll(api: Served, query: str) -> None:
    asked = await api.ask()
    errors = problem(await api.client.get(f"{asked.poll}?{query}"), 422)["errors"]
    assert [error["field"] for error in errors] == [query.partition("=")[0]]


async def test_query_that_is_not_text(api: Served) -> None:
    problem(await api.client.get("/api/v1/questions?state=%ff"), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"choice": 1} x', b"nan"])
async def test_malformed_json(api: Served, body: bytes) -> None:
    asked = await api.ask()
    headers = bearer() | {"Content-Type": "application/json"}
    problem(await api.client.post(asked.votes, content=body, headers=headers), 400)


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
    asked = await api.ask()
    headers = bearer() | {"Content-Type": "application/json"}
    errors = problem(await api.client.post(asked.votes, content=json.dumps(body), headers=headers), 422)["errors"]
    assert [error["field"] for error in errors] == [field]
    assert (await api.results(asked))["total"] == 0


@pytest.mark.parametrize("choice", [0, -1, 999_999_999, 2**63, 10**30])
async def test_unknown_choice(api: Served, choice: int) -> None:
    asked = await api.ask()
    problem(await api.client.post(asked.votes, json={"choice": choice}, headers=bearer()), 404)


async def test_choice_of_another_question(api: Served) -> None:
    asked, other = await api.ask(), await api.ask()
    problem(await api.client.post(asked.votes, json={"choice": other.choices[0]}, headers=bearer()), 404)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_body_of_another_kind(api: Served, kind: str | None) -> None:
    asked = await api.ask()
    content = json.dumps({"choice": asked.choices[0]}).encode()
    headers = bearer() | ({"Content-Type": kind} if kind else {})
    response = await api.client.post(asked.votes, content=content, headers=headers)
    # Tornado itself refuses multipart that has no boundary.
    problem(response, 400 if kind == "multipart/form-data" else 415)


async def test_too_large_a_body(api: Served) -> None:
    asked = await api.ask()
    headers = bearer() | {"Content-Type": "application/json"}
    problem(await api.client.post(asked.votes, content=bytes(MAX_BODY + 1), headers=headers), 413)
    problem(await api.client.post(asked.votes, content=bytes(MAX_BODY), headers=headers), 400)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Basic YTpi",
        f"Bearer {token(exp=1)}",
        f"Bearer {token(iat=2**40)}",
        f"Bearer {token(aud='site')}",
        f"Bearer {token(iss='elsewhere')}",
        f"Bearer {token(key='another secret of 32 characters or more')}",
        f"Bearer {token(key_id='unknown')}",
        f"Bearer {token(sub='x')}",
        f"Bearer {token(sub=str(2**63))}",
        f"Bearer {token(sub='999999999')}",
        *(f"Bearer {token(1, **dict.fromkeys([claim]))}" for claim in ("iss", "aud", "sub", "iat", "exp", "jti")),
    ],
)
async def test_token_that_is_no_good(api: Served, authorization: str | None) -> None:
    asked = await api.ask()
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await api.client.post(asked.votes, json={"choice": asked.choices[0]}, headers=headers)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await api.results(asked))["total"] == 0


async def test_request_id(api: Served) -> None:
    for path in ("/api/v1/questions", "/nowhere", "/health/live"):
        given = await api.client.get(path, headers={"X-Request-ID": "0123abcd"})
        assert given.headers["X-Request-ID"] == "0123abcd"
        made = (await api.client.get(path, headers={"X-Request-ID": "bad id\t{}"})).headers["X-Request-ID"]
        assert len(made) == 32


async def test_health(api: Served) -> None:
    assert (await api.client.get("/health/live", headers={"Host": ""})).json() == {"status": "live"}
    ready = await api.client.get("/health/ready")
    bus = "ok" if api.app.bus.redis else "polling"
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "database": "ok", "bus": bus})
    await api.client.get("/api/v1/questions")
    stats = (await api.client.get("/health/stats")).json()
    assert (stats["app"], stats["instance"], stats["requests"], stats["watchers"]) == ("api", "a", 1, 0)
