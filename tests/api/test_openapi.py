"""The OpenAPI document says what there is, and the page shows it all. (tests/stack holds the api to the document.)"""

import html
import re
from typing import Any

from tests.api.served import Served
from tornado_api.app import ROUTES


async def document(api: Served) -> dict[str, Any]:
    response = await api.client.get("/api/openapi.json")
    assert response.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


async def test_every_address_is_described(api: Served) -> None:
    described = (await document(api))["paths"]
    for pattern, handler, *_ in ROUTES:
        if pattern.startswith("/api/v1/"):
            [path] = [path for path in described if re.fullmatch(pattern, path.replace("{id}", "1"))]
            allowed = (await api.client.options(path.replace("{id}", "1"))).headers["Allow"].lower().split(", ")
            assert set(described[path]) == set(allowed) - {"head", "options"}, handler
    assert len(described) == len([pattern for pattern, *_ in ROUTES if pattern.startswith("/api/v1/")])


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
    polls = [methods["get"] for path, methods in (await document(api))["paths"].items() if path.endswith("/poll")]
    assert polls
    for poll in polls:
        schemas = {parameter["name"]: parameter["schema"] for parameter in poll["parameters"]}
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
    # What the policy of nginx's Content-Security-Policy forbids.
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page.text)
    [style] = re.findall(r'href="([^"]+\.css)"', page.text)
    assert (await api.client.get(style)).headers["Content-Type"] == "text/css"
