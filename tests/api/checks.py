"""Checks of responses that every feature of the api needs."""

from typing import Any

import httpx

from tests.api.served import Served


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


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
