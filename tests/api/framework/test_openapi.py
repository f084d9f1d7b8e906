"""The OpenAPI document describes every route of every feature, and the page shows it all."""

import html
import re
from typing import Any

from tests.api.framework.sample import ALL, SAMPLE
from tests.api.served import Served, serve
from tornado_api import links, openapi
from tornado_api.document import markup
from tornado_api.features import ABOUT
from tornado_api.openapi import About, Section

ROUTES = [route for feature in ALL for route in feature.routes]


async def document(api: Served) -> dict[str, Any]:
    response = await api.client.get("/api/openapi.json")
    assert response.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


async def test_every_address_is_described(api: Served) -> None:
    described = (await document(api))["paths"]
    for pattern, handler, *_ in ROUTES:
        [path] = [path for path in described if re.fullmatch(pattern, path.replace("{id}", "1"))]
        allowed = (await api.client.options(path.replace("{id}", "1"))).headers["Allow"].lower().split(", ")
        assert set(described[path]) == set(allowed) - {"head", "options"}, handler
    assert len(described) == len(ROUTES)


async def test_every_type_is_there(api: Served) -> None:
    whole = await document(api)
    named = set(re.findall(r"#/components/schemas/(\w+)", str(whole)))
    assert named <= set(whole["components"]["schemas"])
    for methods in whole["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                expected = {"application/problem+json"} if int(status) >= 400 else set()
                assert set(response.get("content", {})) >= expected


async def test_parameters_have_their_bounds(api: Served) -> None:
    long_poll = (await document(api))["paths"]["/api/v1/live/counters/{id}/poll"]["get"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in long_poll["parameters"]}
    assert schemas["wait"] == {"type": "number", "minimum": 0, "maximum": 15, "default": 15}


async def test_page(api: Served) -> None:
    whole = await document(api)
    page = await api.client.get("/api/", headers={"X-Forwarded-Proto": "https", "Host": "own.example"})
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    operations = [operation for methods in whole["paths"].values() for operation in methods.values()]
    for operation in operations:
        assert operation["summary"] in html.unescape(page.text)
    assert page.text.count("<code>curl ") == len(operations)
    assert page.text.count("https://own.example/api/v1/") == len(operations)
    for name in whole["components"]["schemas"]:
        assert f'<h3 id="{name}">' in page.text
    # nginx's Content-Security-Policy forbids these.
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page.text)
    [style] = re.findall(r'href="([^"]+\.css)"', page.text)
    assert (await api.client.get(style)).headers["Content-Type"] == "text/css"


def test_descriptions_belong_to_their_feature() -> None:
    operation = SAMPLE.section.operations[0]
    other = Section([operation._replace(path="/api/v1/others/{id}")], (), {404: "There is no such thing"})
    paths = openapi.document(ABOUT, [SAMPLE.section, other])["paths"]
    descriptions = [
        paths[path]["get"]["responses"]["404"]["description"] for path in (operation.path, "/api/v1/others/{id}")
    ]
    assert descriptions == ["There is no such counter", "There is no such thing"]


def test_an_operation_describes_its_own_errors() -> None:
    operation = SAMPLE.section.operations[0]
    own = Section([operation._replace(descriptions={404: "There is no such book"})])
    responses = openapi.document(ABOUT, [own])["paths"][operation.path]["get"]["responses"]
    assert responses["404"]["description"] == "There is no such book"


def test_markup() -> None:
    assert markup("`errors` <b>") == "<code>errors</code> &lt;b&gt;"


async def test_page_shows_no_backticks_and_links_to_the_site(api: Served) -> None:
    page = (await api.client.get("/api/")).text
    assert "`" not in page
    for link in (links.HOME, links.TOKENS):
        assert not link or f'href="{link}"' in page


async def test_app_without_features(database_url: str) -> None:
    async with serve(database_url, features=[]) as app:
        whole = await document(app)
        assert (whole["paths"], set(whole["components"]["schemas"])) == ({}, {"FieldError", "Problem"})
        assert (await app.client.get("/api/")).status_code == 200
        assert await app.ready()


async def test_app_with_another_prefix(database_url: str) -> None:
    async with serve(database_url, features=[SAMPLE], about=About("Chat", "Rooms.", "/chat/")) as app:
        page = (await app.client.get("/chat/")).text
        assert "<title>Chat: API</title>" in page
        [style] = re.findall(r'href="([^"]+\.css)"', page)
        assert (await app.client.get(style)).headers["Content-Type"] == "text/css"
        assert (await app.client.get("/chat/openapi.json")).json()["info"]["title"] == "Chat"
        assert (await app.client.get("/api/")).status_code == 404
