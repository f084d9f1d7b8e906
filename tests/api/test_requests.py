"""What the api answers to short requests, and to those that are wrong."""

from typing import Any

import httpx
import pytest

from tests.api.served import Served
from tests.api.tokens import token
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


async def test_etag(api: Served) -> None:
    subject = await api.fresh()
    await api.write(subject)
    assert (await api.client.get(subject.newest)).headers["ETag"] == '"1"'
    again = await api.client.get(subject.newest, headers={"If-None-Match": '"1"'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"1"')
    await api.write(subject)
    assert (await api.client.get(subject.newest, headers={"If-None-Match": '"1"'})).status_code == 200
    for path in (subject.long_poll, "/api/openapi.json"):
        assert "ETag" not in (await api.client.get(path)).headers


async def test_head(api: Served) -> None:
    subject = await api.fresh()
    for path in (subject.newest, "/api/openapi.json", "/api/"):
        get, head = await api.client.get(path), await api.client.head(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/live/counters/1/events", {"GET", "OPTIONS"}),
        ("/api/v1/live/counters/1/socket", {"GET", "OPTIONS"}),
        ("/api/v1/live/counters/1/poll", {"GET", "OPTIONS"}),
        ("/api/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_methods(api: Served, path: str, allowed: set[str]) -> None:
    await methods(api, path, allowed)


async def methods(api: Served, path: str, allowed: set[str]) -> None:
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
    ["/", "/api", "/api/v1/", "/api/v1/counters/1/", "/api/docs.html"],
)
async def test_unknown_address(api: Served, path: str) -> None:
    problem(await api.client.get(path), 404)


@pytest.mark.parametrize(
    "query", ["after=x", "after=-2", f"after={2**63}", "wait=-1", "wait=15.1", "wait=nan", "wait=1e99"]
)
async def test_bad_long_poll(api: Served, query: str) -> None:
    subject = await api.fresh()
    errors = problem(await api.client.get(f"{subject.long_poll}?{query}"), 422)["errors"]
    assert [error["field"] for error in errors] == [query.partition("=")[0]]


async def test_too_large_a_body(api: Served) -> None:
    subject = await api.fresh()
    problem(await api.client.post(subject.post, content=bytes(MAX_BODY + 1)), 413)
    problem(await api.client.post(subject.post, content=bytes(MAX_BODY)), 401)


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
    subject = await api.fresh()
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await api.write(subject, headers)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await api.newest(subject))["total"] == 0


async def test_request_id(api: Served) -> None:
    for path in ("/api/v1/counters/1", "/nowhere", "/health/live"):
        given = await api.client.get(path, headers={"X-Request-ID": "0123abcd"})
        assert given.headers["X-Request-ID"] == "0123abcd"
        made = (await api.client.get(path, headers={"X-Request-ID": "bad id\t{}"})).headers["X-Request-ID"]
        assert len(made) == 32


async def test_health(api: Served) -> None:
    assert (await api.client.get("/health/live", headers={"Host": ""})).json() == {"status": "live"}
    ready = await api.client.get("/health/ready")
    bus = "ok" if api.app.bus.redis else "polling"
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "database": "ok", "bus": bus})
    await api.client.get("/api/v1/counters/1")
    stats = (await api.client.get("/health/stats")).json()
    assert (stats["app"], stats["instance"], stats["requests"], stats["watchers"]) == ("api", "api-a", 1, 0)
