"""The api's responses to short requests, correct ones and wrong ones."""

import pytest

from tests.api.checks import methods, problem
from tests.api.framework.sample import fresh, write
from tests.api.served import Served
from tests.api.tokens import token
from tests.api.watching import newest
from tornado_api.limits import MAX_BODY


async def test_etag(api: Served) -> None:
    subject = await fresh(api)
    await write(api, subject)
    assert (await api.client.get(subject.newest)).headers["ETag"] == '"1"'
    again = await api.client.get(subject.newest, headers={"If-None-Match": '"1"'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"1"')
    await write(api, subject)
    assert (await api.client.get(subject.newest, headers={"If-None-Match": '"1"'})).status_code == 200
    for path in (subject.long_poll, "/api/openapi.json"):
        assert "ETag" not in (await api.client.get(path)).headers


async def test_head(api: Served) -> None:
    subject = await fresh(api)
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
    subject = await fresh(api)
    errors = problem(await api.client.get(f"{subject.long_poll}?{query}"), 422)["errors"]
    assert [error["field"] for error in errors] == [query.partition("=")[0]]


async def test_too_large_a_body(api: Served) -> None:
    subject = await fresh(api)
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
async def test_rejected_tokens(api: Served, authorization: str | None) -> None:
    subject = await fresh(api)
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await write(api, subject, headers)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await newest(api, subject))["total"] == 0


async def test_request_id(api: Served) -> None:
    for path in ("/api/v1/counters/1", "/nowhere", "/health/live"):
        given = await api.client.get(path, headers={"X-Request-ID": "0123abcd"})
        assert given.headers["X-Request-ID"] == "0123abcd"
        made = (await api.client.get(path, headers={"X-Request-ID": "bad id\t{}"})).headers["X-Request-ID"]
        assert len(made) == 32


async def test_health(api: Served) -> None:
    assert (await api.client.get("/health/live", headers={"Host": ""})).json() == {"status": "live"}
    ready = await api.client.get("/health/ready")
    bus = "ok" if api.app.bus.redis else "off"
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "database": "ok", "bus": bus})
    await api.client.get("/api/v1/counters/1")
    stats = (await api.client.get("/health/stats")).json()
    assert (stats["app"], stats["instance"], stats["requests"], stats["watchers"]) == ("api", "api-a", 1, 0)
