"""The site's pages and files: who serves them, their caching and their headers."""

import re

import httpx
import pytest

from tests.stack.checks import check_error, check_headers, check_response, upstream
from tests.stacks import Stack

LOGIN = "/accounts/login/"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", LOGIN, 200),
        ("GET", "/accounts/", 302),
        ("GET", "/accounts/login", 301),
        ("GET", "/admin/login/", 302),
        ("GET", "/nothing-here/", 404),
        ("POST", LOGIN, 403),
        ("PUT", "/", 405),
        ("GET", "/static/nothing-here.css", 404),
        ("GET", "/media/", 403),
    ],
)
def test_each_kind_of_response(stack: Stack, method: str, path: str, status: int) -> None:
    check_response(stack, method, path, status)


@pytest.mark.parametrize("path", ["/static/nothing-here.css", "/media/nothing-here.png"])
def test_nginx_serves_files(stack: Stack, path: str) -> None:
    with stack.client() as client:
        response = client.get(path)
    assert (response.status_code, upstream(response)) == (404, "")


def stylesheet(client: httpx.Client) -> str:
    """Return the path of the site's stylesheet, whose name has a hash."""
    found = re.search(r'href="(/static/site\.[0-9a-f]{12}\.css)"', client.get(LOGIN).text)
    assert found, "the page names no hashed stylesheet"
    return found[1]


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, br", "br"), ("gzip", "gzip"), ("identity", None)])
def test_hashed_static_file(stack: Stack, accepted: str, encoding: str | None) -> None:
    with stack.client() as client:
        path = stylesheet(client)
        whole = client.get(path, headers={"Accept-Encoding": "identity"})
        # httpx cannot decode every encoding. The raw bytes show that nginx sent the file that collectstatic compressed.
        with client.stream("GET", path, headers={"Accept-Encoding": accepted}) as response:
            sent = b"".join(response.iter_raw())
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/css")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers.get("Content-Encoding") == encoding
    assert "Set-Cookie" not in response.headers
    suffix = {"br": ".br", "gzip": ".gz", None: ""}[encoding]
    assert sent == (stack.seen / f"{path[1:]}{suffix}").read_bytes()
    assert "Accept-Encoding" in response.headers.get("Vary", "")
    if encoding:
        assert len(sent) < len(whole.content)


def test_conditional_and_partial_requests_of_a_file(stack: Stack) -> None:
    with stack.client() as client:
        path = stylesheet(client)
        whole = client.get(path)
        responses = [whole]
        for header, validator in [("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")]:
            again = client.get(path, headers={header: whole.headers[validator]})
            assert (again.status_code, again.content) == (304, b"")
            responses.append(again)
        assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
        part = client.get(path, headers={"Range": "bytes=0-9", "Accept-Encoding": "identity"})
        assert part.status_code == 206
    for response in (*responses, part):
        check_headers(stack, response.headers.multi_items())


def test_pages_are_compressed_and_private(stack: Stack) -> None:
    """A page with a form has a secret, so a cache that people share must not keep it."""
    with stack.client() as client:
        page = client.get(LOGIN)
    assert page.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in page.headers["Vary"]
    assert "public" not in page.headers.get("Cache-Control", "")
    assert "Cookie" in page.headers["Vary"] or "private" in page.headers["Cache-Control"]


def test_a_long_redirect_fits(stack: Stack) -> None:
    with stack.client() as client:
        for size in (4000, 8000):
            response = client.get(f"{LOGIN.removesuffix('/')}?{'a' * size}")
            assert (response.status_code, len(response.headers["Location"])) == (301, len(LOGIN) + 1 + size)


@pytest.mark.parametrize(("header", "status"), [({"If-Match": '"x"'}, 412), ({"Range": "bytes=99999999-"}, 416)])
def test_conditions_that_a_file_does_not_meet(stack: Stack, header: dict[str, str], status: int) -> None:
    with stack.client() as client:
        check_error(client.get(stylesheet(client), headers=header | {"Accept-Encoding": "identity"}), status, "html")
