"""Uploads in a bucket: moto's server, which the site asks over HTTP."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from config.bucket import SIGNED, serve
from config.env import ValidationError
from config.media import Away
from config.settings import parse_bucket
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client, RequestFactory

from tests.faults import away
from tests.site.media import buckets

pytestmark = [pytest.mark.slow, pytest.mark.any_data]


def test_a_file_with_its_type(bucket_port: int) -> None:
    name = default_storage.save("pictures/Äh, 100% #1?.webp", ContentFile(b"content"))
    stored = buckets.client(bucket_port).get_object(Bucket=buckets.NAME, Key=name)
    assert (stored["Body"].read(), stored["ContentType"]) == (b"content", "image/webp")
    assert (default_storage.open(name).read(), default_storage.size(name)) == (b"content", 7)
    assert default_storage.url(name).startswith("/media/pictures/")


def test_nothing_is_overwritten(bucket_port: int) -> None:
    first, second = (default_storage.save("pictures/once.webp", ContentFile(each)) for each in (b"1", b"2"))
    assert [default_storage.open(name).read() for name in (first, second)] == [b"1", b"2"]


def test_a_missing_file(bucket_port: int) -> None:
    assert not default_storage.exists("pictures/none.webp")
    default_storage.delete("pictures/none.webp")
    with pytest.raises(FileNotFoundError):
        default_storage.open("pictures/none.webp")


def test_nginx_gets_a_signed_address(bucket_port: int, rf: RequestFactory) -> None:
    name = default_storage.save("pictures/a b+ü.webp", ContentFile(b"content"))
    found = serve(rf.get("/"), name)["X-Accel-Redirect"]
    signature = parse_qs(urlsplit(found).query)
    assert signature["X-Amz-Expires"] == [str(SIGNED)]
    assert signature["X-Amz-Credential"][0].startswith(f"{buckets.KEY}/")
    assert buckets.SECRET not in found
    address = f"http://127.0.0.1:{bucket_port}{found.removeprefix('/bucket')}"
    assert httpx.get(address).content == b"content"


def test_only_reads_are_signed(bucket_port: int, rf: RequestFactory) -> None:
    assert serve(rf.post("/"), "pictures/x.webp").status_code == 405
    outside = serve(rf.get("/"), "../other-bucket/x")["X-Accel-Redirect"]
    assert outside.startswith(f"/bucket/{buckets.NAME}/other-bucket/x?")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGSTOP])
def test_the_bucket_is_unavailable(
    bucket_port: int,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("config.bucket.TIMEOUT", 0.5)
    # A page that stores a file.
    stored = ContentFile(b"content", "lost.webp")
    page = lambda view, request: HttpResponse(default_storage.save("lost.webp", stored))  # noqa: E731
    monkeypatch.setattr("accounts.views.SignUpView.get", page)
    client.raise_request_exception = False
    with away(bucket_port, how):
        answer = client.get("/accounts/signup/")
        default_storage.delete("doomed.webp")
    buckets.create(bucket_port)
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert "doomed.webp stays: uploads: " in caplog.text
    assert "Traceback" not in caplog.text


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A storage that answers every request with this status. Yields its S3_URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET = do_PUT = do_DELETE = answer

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://key:secret@127.0.0.1:{server.server_port}/uploads"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "error"), [(403, OSError), (401, OSError), (429, Away), (500, Away), (503, Away)])
def test_the_bucket_refuses(status: int, error: type[Exception], settings: Any) -> None:
    with refusing(status) as url:
        uploads = {"BACKEND": "config.bucket.Bucket", "OPTIONS": parse_bucket(url)}
        settings.STORAGES = settings.STORAGES | {"default": uploads}
        work: list[Callable[[], Any]] = [
            lambda: default_storage.save("x.webp", ContentFile(b"content")),
            lambda: default_storage.open("x.webp").read(),
            lambda: default_storage.size("x.webp"),
        ]
        for each in work:
            with pytest.raises(error, match=str(status)):
                each()


@pytest.mark.parametrize(
    "url",
    [
        "uploads",
        "https://s3.example.org/uploads",
        "https://key:secret@s3.example.org/",
        "https://key:secret@s3.example.org/uploads/folder",
        "https://key:secret@s3.example.org:port/uploads",
        "s3://key:secret@uploads/",
        "https://key:secret@/uploads",
        "https://key:secret@[::1/uploads",
        "https://key:sec/ret@s3.example.org/uploads",
    ],
)
def test_a_malformed_url(url: str) -> None:
    with pytest.raises(ValidationError, match="https://key:secret@host/bucket"):
        parse_bucket(url)


def test_a_url() -> None:
    assert parse_bucket("https://id:a%2Fb%2B@s3.example.org:9000/uploads?region=eu-central-1") == {
        "endpoint_url": "https://s3.example.org:9000",
        "access_key": "id",
        "secret_key": "a/b+",
        "bucket_name": "uploads",
        "region_name": "eu-central-1",
    }
