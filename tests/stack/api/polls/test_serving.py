"""The endpoints of polls through nginx."""

import pytest

from tests.sample import API_POST, ENDPOINT, LIVE
from tests.stack.checks import check_error, check_response
from tests.stack.test_health import stopped
from tests.stacks import Stack


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ENDPOINT, 200),
        ("POST", API_POST, 401),
        ("GET", f"{LIVE}/poll?wait=0", 200),
        ("DELETE", ENDPOINT, 405),
        ("DELETE", API_POST, 405),
        ("PUT", f"{LIVE}/events", 405),
    ],
)
def test_each_kind_of_response(stack: Stack, method: str, path: str, status: int) -> None:
    check_response(stack, method, path, status)


@pytest.mark.parametrize(("path", "allowed"), [(ENDPOINT, "GET"), (API_POST, "POST"), (f"{LIVE}/events", "GET")])
def test_wrong_method(stack: Stack, path: str, allowed: str) -> None:
    with stack.client() as client:
        response = client.delete(path)
    check_error(response, 405, "json")
    assert allowed in response.headers["Allow"]


@pytest.mark.parametrize("query", ["after=x", "wait=x", "wait=-1", "wait=1e99", "wait=nan"])
def test_malformed_queries(stack: Stack, query: str) -> None:
    with stack.client() as client:
        check_error(client.get(f"{LIVE}/poll?{query}"), 422, "json")


def test_the_endpoint_has_an_etag(stack: Stack) -> None:
    with stack.client() as client:
        etag = client.get(ENDPOINT).headers["ETag"]
        again = client.get(ENDPOINT, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_a_vote_that_is_too_large(stack: Stack) -> None:
    with stack.client() as client:
        check_error(client.post(API_POST, content=bytes(64 * 1024 + 1)), 413, "json")
        assert client.post(API_POST, content=bytes(64 * 1024)).status_code == 401


def test_without_an_instance_watchers_get_a_problem_document(stack: Stack) -> None:
    with stopped(stack, "api-a", "api-b"), stack.client() as client:
        response = client.get(f"{LIVE}/events")
    check_error(response, 503, "json")
    assert int(response.headers["Retry-After"]) > 0
