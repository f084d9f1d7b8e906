"""The media store: a real nginx with nginx/media.conf, which the site asks over HTTP."""

import http.client
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from config.media import Away, MediaStore
from django.conf import settings
from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.test import Client

from tests.faults import away

pytestmark = [pytest.mark.slow, pytest.mark.any_data]


@pytest.fixture
def http_client(media_port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{media_port}") as client:
        yield client


def files(media_prefix: Path) -> list[Path]:
    return [path for path in media_prefix.rglob("*") if path.is_file() and path.parent.name not in ("etc", "run")]


def test_a_file_with_its_type(store: MediaStore, http_client: httpx.Client) -> None:
    name = store.save("pictures/typed.webp", ContentFile(b"content"))
    answer = http_client.get(f"/media/{name}")
    assert (answer.content, answer.headers["Content-Type"]) == (b"content", "image/webp")


def test_nothing_is_overwritten(store: MediaStore, media_prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store.save("pictures/once.webp", ContentFile(b"first"))
    other = store.save("pictures/once.webp", ContentFile(b"second"))
    assert other != name
    # Two requests at the same moment.
    monkeypatch.setattr(store, "exists", lambda name: False)
    with pytest.raises(FileExistsError):
        store.save("pictures/once.webp", ContentFile(b"third"))
    assert [(media_prefix / "media" / each).read_bytes() for each in (name, other)] == [b"first", b"second"]


def test_a_missing_file(store: MediaStore) -> None:
    assert not store.exists("pictures/none.webp")
    store.delete("pictures/none.webp")
    with pytest.raises(FileNotFoundError):
        store.open("pictures/none.webp")


def test_names_that_need_quoting(store: MediaStore, media_prefix: Path) -> None:
    name = store.save("pictures/Äh, 100% #1?.webp", ContentFile(b"content"))
    assert (media_prefix / "media" / name).read_bytes() == b"content"
    assert store.open(name).read() == b"content"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/media/pictures/", 404),
        ("DELETE", "/media/pictures", 409),
        ("DELETE", "/media/", 404),
        ("PUT", "/media/.hidden", 404),
        ("PUT", "/media/pictures/.hidden/name", 404),
        ("PUT", "/other/name", 404),
        ("PUT", "/media/%2e%2e/etc/nginx.conf", 404),
        ("GET", "/etc/nginx.conf", 404),
        ("GET", "/media/../etc/nginx.conf", 404),
        ("MKCOL", "/media/directory", 405),
        ("MOVE", "/media/pictures/kept.webp", 405),
        ("POST", "/media/pictures/kept.webp", 405),
    ],
)
def test_rejected_requests(store: MediaStore, media_prefix: Path, method: str, path: str, status: int) -> None:
    if not store.exists("pictures/kept.webp"):
        store.save("pictures/kept.webp", ContentFile(b"kept"))
    before = files(media_prefix)
    # Unchanged: httpx would remove /../.
    connection = http.client.HTTPConnection(store.host, store.port, timeout=5)
    connection.request(method, path, body=b"x" if method in ("PUT", "POST") else None)
    assert connection.getresponse().status == status
    connection.close()
    assert sorted(files(media_prefix)) == sorted(before)


def test_a_file_above_the_upload_limit(store: MediaStore, media_prefix: Path) -> None:
    before = files(media_prefix)
    with pytest.raises(OSError, match="answers 413"):
        store.save("pictures/large.webp", ContentFile(bytes(settings.UPLOAD_LIMIT_MB * 1024 * 1024 + 1)))
    assert files(media_prefix) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGSTOP])
def test_the_store_is_unavailable(
    store: MediaStore,
    media_port: int,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("config.media.TIMEOUT", 0.5)
    name, doomed = (store.save(f"pictures/{each}.webp", ContentFile(b"content")) for each in ("there", "doomed"))
    # A page that reads a file.
    monkeypatch.setattr("accounts.views.SignUpView.get", lambda view, request: HttpResponse(store.open(name)))
    client.raise_request_exception = False
    with away(media_port, how):
        with pytest.raises(Away):
            store.save("pictures/lost.webp", ContentFile(b"content"))
        answer = client.get("/accounts/signup/")
        store.delete(doomed)
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert f"{doomed} stays: uploads: " in caplog.text
    assert "Traceback" not in caplog.text
    assert client.get("/accounts/signup/").content == b"content"
