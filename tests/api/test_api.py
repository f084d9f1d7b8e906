"""The api answers, describes every route, and rejects requests in its own format."""

import html
import re

from tests.api.checks import methods, problem
from tests.api.served import Served
from tornado_api.features import FEATURES


async def test_it_is_alive_and_ready(api: Served) -> None:
    assert (await api.client.get("/health/live")).json() == {"status": "live"}
    assert await api.ready()


async def test_every_route_is_documented(api: Served) -> None:
    document = (await api.client.get("/api/openapi.json")).json()
    paths = [path.replace("{id}", "1") for path in document["paths"]]
    for pattern, handler, *_ in (route for feature in FEATURES for route in feature.routes):
        assert any(re.fullmatch(pattern, path) for path in paths), handler
    page = html.unescape((await api.client.get("/api/")).text)
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"] in page


async def test_errors_are_problem_documents(api: Served) -> None:
    problem(await api.client.get("/api/nowhere"), 404)
    await methods(api, "/api/openapi.json", {"GET", "HEAD", "OPTIONS"})
