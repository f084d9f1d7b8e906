"""The api's addresses through nginx."""

import pytest

from tests.stack.checks import check_error, check_response, upstream
from tests.stack.test_requests import lies, schemes
from tests.stacks import Stack

# nginx/api/locations.conf
MAX_BODY = 64 * 1024


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/", 200),
        ("GET", "/api/openapi.json", 200),
        ("GET", "/api/v1/nothing-here", 404),
        ("POST", "/api/openapi.json", 405),
    ],
)
def test_each_kind_of_response(stack: Stack, method: str, path: str, status: int) -> None:
    check_response(stack, method, path, status)


def test_wrong_method(stack: Stack) -> None:
    with stack.client() as client:
        response = client.post("/api/openapi.json")
    check_error(response, 405, "json")
    assert "GET" in response.headers["Allow"]


def test_a_path_that_leaves_the_prefix(stack: Stack) -> None:
    with stack.client() as client:
        response = client.get("/api/v1/../../health/ready")
    assert (response.status_code, upstream(response)) == (404, "")


def test_body_too_large(stack: Stack) -> None:
    with stack.client() as client:
        check_error(client.post("/api/", content=bytes(MAX_BODY + 1)), 413, "json")
        # A body of the allowed size reaches the api, which has its own answer.
        assert client.post("/api/", content=bytes(MAX_BODY)).status_code == 405


def test_a_client_cannot_claim_another_scheme_or_host(stack: Stack) -> None:
    """The examples on the page have this server's address, and caches keep the page."""
    with stack.client() as client:
        page = client.get("/api/", headers=lies(stack)).text
    assert f"{stack.url}/api/" in page
    assert "evil.example" not in page
    assert f"{schemes(stack)[1]}://{stack.authority}" not in page
