"""Uploads in a bucket (S3_URL), through nginx and the site on this machine."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from deploy.core.probe import UNCACHED
from deploy.core.roll import wait_until
from tests.faults import away
from tests.site.media import buckets
from tests.stack.checks import check_headers
from tests.stacks import NativeStack, running

CONTENT = b"0123456789"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with buckets.bucket() as url:
        yield url


@pytest.fixture(scope="module")
def uploading(url: str) -> Iterator[NativeStack]:
    with running(NativeStack, {"S3_URL": url, "CORES": "1"}) as stack:
        yield stack


def store(stack: NativeStack, name: str) -> str:
    """Store a file as the site does. Return its path."""
    save = f"print(default_storage.save({name!r}, ContentFile({CONTENT!r})))"
    imports = "from django.core.files.storage import default_storage; from django.core.files.base import ContentFile"
    return f"/media/{stack.manage('shell', '--verbosity=0', '-c', f'{imports}; {save}').strip()}"


def requests_of_site(stack: NativeStack) -> int:
    return sum('"path": "/media/' in line for log in stack.read_logs("site") for line in log)


def test_an_upload_is_served_as_a_file_is(uploading: NativeStack) -> None:
    path = store(uploading, "pictures/a b+é.webp")
    with uploading.client() as client:
        first, again, head = client.get(path), client.get(path), client.head(path)
        part = client.get(path, headers={"Range": "bytes=2-4"})
        unchanged = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert [client.request(method, path).status_code for method in ("POST", "PUT", "DELETE")] == [405, 405, 405]
    assert [each.headers["X-Cache"] for each in (first, again, head)] == ["MISS", "HIT", "HIT"]
    assert first.content == again.content == CONTENT
    assert (part.status_code, part.content) == (206, CONTENT[2:5])
    assert (unchanged.status_code, head.content) == (304, b"")
    for response in (first, again):
        check_headers(uploading, response.headers.multi_items())
        assert response.headers["Content-Type"].startswith("image/webp")
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
        assert {"last-modified", "etag", "accept-ranges"} <= response.headers.keys()
        assert not {"set-cookie", "vary", "expires", "x-amz-request-id"} & response.headers.keys()
        assert not re.search("signature|credential", f"{response.headers}", re.IGNORECASE)


def test_a_copy_costs_the_site_no_request(uploading: NativeStack) -> None:
    path = store(uploading, "pictures/copied.webp")
    with uploading.client() as client:
        first = client.get(path)
        before = requests_of_site(uploading)
        assert [client.get(path).content for _ in range(20)] == [CONTENT] * 20
    assert requests_of_site(uploading) == before
    [line] = [line for log in uploading.read_logs("site") for line in log if "/media/pictures/copied.webp" in line]
    assert first.headers["X-Request-ID"] in line


@pytest.mark.parametrize("path", ["", "pictures/none.webp", "../etc/passwd", "pictures/", ".hidden"])
def test_there_is_no_such_upload(uploading: NativeStack, path: str) -> None:
    with uploading.client() as client:
        answer = client.get(f"/media/{path}")
        assert client.get(f"/bucket/{buckets.NAME}/x").status_code == 404
    assert answer.status_code == 404
    assert "Amz" not in answer.text


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGTERM])
def test_the_bucket_is_unavailable(uploading: NativeStack, url: str, how: signal.Signals) -> None:
    known, unknown = (store(uploading, f"pictures/{name}-{how.name}.webp") for name in ("known", "unknown"))
    with uploading.client() as client:
        assert client.get(known).content == CONTENT
        with away(urlsplit(url).port or 0, how):
            assert client.get(known).content == CONTENT
            missing = client.get(unknown)
            page = client.get("/accounts/login/", headers=UNCACHED)
            uploading.wait_ready()
        buckets.create(urlsplit(url).port or 0)
        assert (missing.status_code, missing.headers["Retry-After"]) == (503, "2")
        assert "Back in a moment" in missing.text
        assert page.status_code == 200


def test_pages_are_served_while_nginx_waits_for_the_bucket(uploading: NativeStack, url: str) -> None:
    """There are more requests than workers of the site, which would all wait if they read the bucket."""
    paths = [store(uploading, f"pictures/waiting-{number}.webp") for number in range(3)]
    before = requests_of_site(uploading)
    with ExitStack() as waiting, uploading.client() as client, away(urlsplit(url).port or 0, signal.SIGSTOP):
        for path in paths:
            connection = waiting.enter_context(uploading.connect())
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: requests_of_site(uploading) == before + len(paths), lambda: "the site signs no addresses")
        for _ in range(20):
            assert client.get("/accounts/login/", headers=UNCACHED).status_code == 200
