"""Who serves what, and how the load is shared."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.sample import ENDPOINT, LIVE
from tests.stacks import AnyStack


def upstream(response: httpx.Response) -> str:
    """The name of the socket that served: site-a, api-b-1; empty when nginx did."""
    return str(response.headers.get("X-Upstream", "")).rpartition("/")[2].removesuffix(".sock")


@pytest.mark.parametrize(
    ("path", "server"),
    [
        ("/", "site"),
        ("/accounts/login/", "site"),
        ("/admin/login/", "site"),
        ("/nothing-here/", "site"),
        ("/api/", "api"),
        ("/api/openapi.json", "api"),
        (ENDPOINT, "api"),
        ("/api/v1/nothing-here", "api"),
        (f"{LIVE}/poll?wait=0", "api"),
        ("/static/nothing-here.css", ""),
        ("/media/nothing-here.png", ""),
        ("/health/live", ""),
        ("/health/ready", ""),
        ("/api/v1/../../health/ready", ""),
        ("/_errors/error.html", ""),
    ],
)
def test_who_serves(stack: AnyStack, path: str, server: str) -> None:
    with stack.client() as client:
        response = client.get(path)
    assert upstream(response).partition("-")[0] == server, response.headers
    if not server:
        assert response.status_code == 404


def test_workers_are_one_per_core_and_instance(stack: AnyStack) -> None:
    for part, pid in stack.pids().items():
        workers = psutil.Process(pid).children()
        assert len(workers) == stack.cores, (part, workers)


@pytest.mark.parametrize("path", ["/accounts/login/", ENDPOINT])
def test_both_instances_take_short_requests(stack: AnyStack, path: str) -> None:
    def hundred(_: int) -> Counter[str]:
        with stack.client() as client:
            return Counter(upstream(client.get(path)) for _ in range(100))

    with ThreadPoolExecutor(4) as threads:
        served = sum(threads.map(hundred, range(4)), Counter[str]())
    instances = Counter[str]()
    for server, count in served.items():
        instances["-".join(server.split("-")[:2])] += count
    assert len(instances) == 2
    assert min(instances.values()) >= 0.4 * 400, served
    if path.startswith("/api/"):
        assert len(served) == 2 * stack.cores


def stylesheet(client: httpx.Client) -> str:
    found = re.search(r'href="(/static/site\.[0-9a-f]{12}\.css)"', client.get("/").text)
    assert found, "the page names no hashed stylesheet"
    return found[1]


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip, br", "br"), ("gzip", "gzip"), ("identity", None)])
def test_hashed_static_file(stack: AnyStack, accepted: str, encoding: str | None) -> None:
    with stack.client() as client:
        path = stylesheet(client)
        whole = client.get(path, headers={"Accept-Encoding": "identity"})
        # httpx decodes only what it knows; the length tells that the variant made by collectstatic was sent.
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


def test_conditional_requests(stack: AnyStack) -> None:
    with stack.client() as client:
        path = stylesheet(client)
        first = client.get(path)
        for header, validator in [("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")]:
            again = client.get(path, headers={header: first.headers[validator]})
            assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


def test_pages_are_compressed_and_private(stack: AnyStack) -> None:
    with stack.client() as client:
        page = client.get("/accounts/login/")
        assert page.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in page.headers["Vary"]
        assert "public" not in page.headers.get("Cache-Control", "")


def test_the_endpoint_has_an_etag(stack: AnyStack) -> None:
    with stack.client() as client:
        etag = client.get(ENDPOINT).headers["ETag"]
        again = client.get(ENDPOINT, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
