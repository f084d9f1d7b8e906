"""Pictures in the media store: a real nginx with nginx/media.conf, which the site asks over HTTP."""

import http.client
import io
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from config.media import MediaStore
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from PIL import Image
from polls.models import Question

from deploy.env import PROJECT
from tests import servers


@pytest.fixture(scope="module")
def prefix() -> Iterator[Path]:
    """nginx's, whose workers are other users where it starts as root."""
    with tempfile.TemporaryDirectory(prefix="media-") as directory:
        for name in ("tmp", "run", "media", "etc"):
            (Path(directory) / name).mkdir()
        yield Path(directory)


@pytest.fixture(scope="module")
def port(prefix: Path) -> Iterator[int]:
    port = servers.free_port()
    shutil.copy(PROJECT / "nginx/media.conf", prefix / "etc/nginx.conf")
    (prefix / "etc/listen.conf").write_text(f"listen 127.0.0.1:{port};\n")
    command = [servers.program("nginx", "nginx"), "-p", str(prefix), "-c", "etc/nginx.conf", "-e", "stderr"]
    with servers.running([*command, "-g", "daemon off; user root;" if servers.AS_POSTGRES else "daemon off;"], port):
        yield port


@pytest.fixture
def store(port: int, settings: Any) -> MediaStore:
    """That of the site, too."""
    url = f"http://127.0.0.1:{port}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "config.media.MediaStore", "OPTIONS": {"url": url}}}
    return MediaStore(url)


@pytest.fixture
def http_client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield client


def files(prefix: Path) -> list[Path]:
    return [path for path in prefix.rglob("*") if path.is_file() and path.parent.name not in ("etc", "run")]


def ask(member: Client) -> Any:
    picture = io.BytesIO()
    Image.effect_noise((640, 400), 50).save(picture, "PNG")
    upload = ContentFile(picture.getvalue(), name="cat.png")
    return member.post("/questions/new/", {"text": "Which?", "choices": "one\ntwo", "picture": upload})


def test_a_picture_comes_back_and_goes_with_its_question(
    store: MediaStore, prefix: Path, member: Client, django_capture_on_commit_callbacks: Any
) -> None:
    before = files(prefix)
    assert ask(member).status_code == 302
    question = Question.objects.get()
    name = str(question.picture.name)
    [stored] = set(files(prefix)) - set(before)
    assert stored == prefix / "media" / name
    assert stored.stat().st_mode & 0o777 == 0o600
    content = default_storage.open(name).read()
    assert content == stored.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (640, 400))
    assert question.picture.size == len(content)
    page = member.get(f"/questions/{question.pk}/").content.decode()
    assert f'src="/media/{name}"' in page
    with django_capture_on_commit_callbacks(execute=True):
        question.delete()
    assert files(prefix) == before


def test_a_picture_with_its_type(store: MediaStore, http_client: httpx.Client) -> None:
    name = store.save("pictures/typed.webp", ContentFile(b"content"))
    answer = http_client.get(f"/media/{name}")
    assert (answer.content, answer.headers["Content-Type"]) == (b"content", "image/webp")


def test_nothing_is_overwritten(store: MediaStore, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store.save("pictures/once.webp", ContentFile(b"first"))
    other = store.save("pictures/once.webp", ContentFile(b"second"))
    assert other != name
    # Two at the same moment.
    monkeypatch.setattr(store, "exists", lambda name: False)
    with pytest.raises(FileExistsError):
        store.save("pictures/once.webp", ContentFile(b"third"))
    assert [(prefix / "media" / each).read_bytes() for each in (name, other)] == [b"first", b"second"]


def test_what_is_not_there(store: MediaStore) -> None:
    assert not store.exists("pictures/none.webp")
    store.delete("pictures/none.webp")
    with pytest.raises(FileNotFoundError):
        store.open("pictures/none.webp")


def test_names_that_need_quoting(store: MediaStore, prefix: Path) -> None:
    name = store.save("pictures/Äh, 100% #1?.webp", ContentFile(b"content"))
    assert (prefix / "media" / name).read_bytes() == b"content"
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
def test_what_it_does_not_do(store: MediaStore, prefix: Path, method: str, path: str, status: int) -> None:
    if not store.exists("pictures/kept.webp"):
        store.save("pictures/kept.webp", ContentFile(b"kept"))
    before = files(prefix)
    # As it is: httpx would take /../ away.
    connection = http.client.HTTPConnection(store.host, store.port, timeout=5)
    connection.request(method, path, body=b"x" if method in ("PUT", "POST") else None)
    assert connection.getresponse().status == status
    connection.close()
    assert sorted(files(prefix)) == sorted(before)


def test_larger_than_the_world_may_send(store: MediaStore, prefix: Path) -> None:
    before = files(prefix)
    with pytest.raises(OSError, match="answers 413"):
        store.save("pictures/large.webp", ContentFile(bytes(6 * 1024 * 1024 + 1)))
    assert files(prefix) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("to_ask", [True, False], ids=["a question", "in the admin"])
def test_the_store_is_away(
    store: MediaStore,
    port: int,
    prefix: Path,
    member: Client,
    admin_client: Client,
    caplog: pytest.LogCaptureFixture,
    how: signal.Signals,
    to_ask: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("config.media.TIMEOUT", 0.5)
    before = files(prefix)
    client = member if to_ask else admin_client
    client.raise_request_exception = False
    with servers.away(port, how):
        answer = ask(client) if to_ask else ask_in_admin(client)
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert not Question.objects.exists()
    assert files(prefix) == before
    assert "media store: " in caplog.text
    assert "Traceback" not in caplog.text
    assert (ask(client) if to_ask else ask_in_admin(client)).status_code == 302


def ask_in_admin(admin: Client) -> Any:
    picture = io.BytesIO()
    Image.new("RGB", (64, 40)).save(picture, "PNG")
    form = {"text": "Which?", "picture": ContentFile(picture.getvalue(), name="cat.png")}
    form |= {
        "choices-TOTAL_FORMS": 2,
        "choices-INITIAL_FORMS": 0,
        "choices-MIN_NUM_FORMS": 2,
        "choices-MAX_NUM_FORMS": 10,
    }
    form |= {f"choices-{n}-{field}": value for n in (0, 1) for field, value in (("position", n), ("text", f"{n}"))}
    return admin.post("/admin/polls/question/add/", form)


def test_a_question_is_deleted_while_the_store_is_away(
    store: MediaStore,
    port: int,
    member: Client,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    ask(member)
    name = str(Question.objects.get().picture.name)
    with servers.away(port, signal.SIGTERM), django_capture_on_commit_callbacks(execute=True):
        Question.objects.get().delete()
    assert f"{name} stays: media store: " in caplog.text
    assert store.exists(name)
