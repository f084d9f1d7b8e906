"""What handlers get of a request's body and query, once they are checked; on an endpoint of these tests'."""

import json
from typing import Any

import msgspec
import pytest

from tests.api.served import Served
from tests.api.test_requests import problem
from tornado_api.handlers import Handler


class Order(msgspec.Struct, forbid_unknown_fields=True):
    count: int


class Orders(Handler):
    async def get(self) -> None:
        self.answer(self.query(Order))

    async def post(self) -> None:
        self.answer(self.body(Order))


@pytest.fixture
def api(api: Served) -> Served:
    api.app.add_handlers(".*", [("/orders", Orders)])
    return api


async def post(api: Served, content: bytes, kind: str | None = "application/json") -> Any:
    return await api.client.post("/orders", content=content, headers={"Content-Type": kind} if kind else {})


async def test_as_it_should_be(api: Served) -> None:
    assert (await post(api, b'{"count": 1}', "application/json; charset=utf-8")).json() == {"count": 1}
    assert (await api.client.get("/orders?count=1")).json() == {"count": 1}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"count": 1} x', b"nan"])
async def test_malformed_json(api: Served, body: bytes) -> None:
    problem(await post(api, body), 400)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "$.count"),
        ({"count": "1"}, "$.count"),
        ({"count": 1.5}, "$.count"),
        ({"count": True}, "$.count"),
        ({"count": None}, "$.count"),
        ({"count": [1]}, "$.count"),
        ({"count": 1, "price": 1000}, "$.price"),
        ([], "$"),
        (None, "$"),
        ("count", "$"),
    ],
)
async def test_body_of_the_wrong_shape(api: Served, body: Any, field: str) -> None:
    errors = problem(await post(api, json.dumps(body).encode()), 422)["errors"]
    assert [error["field"] for error in errors] == [field]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_body_of_another_kind(api: Served, kind: str | None) -> None:
    # Tornado itself refuses multipart that has no boundary.
    problem(await post(api, b'{"count": 1}', kind), 400 if kind == "multipart/form-data" else 415)


@pytest.mark.parametrize(("query", "field"), [("count=x", "count"), ("", "count"), ("count=1&price=1", "price")])
async def test_bad_query(api: Served, query: str, field: str) -> None:
    errors = problem(await api.client.get(f"/orders?{query}"), 422)["errors"]
    assert [error["field"] for error in errors] == [field]


async def test_query_that_is_not_text(api: Served) -> None:
    problem(await api.client.get("/orders?count=%ff"), 400)
