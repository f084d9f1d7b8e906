"""A question's picture in the media store."""

import io
import signal
from pathlib import Path
from typing import Any

import pytest
from config.media import MediaStore
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from PIL import Image
from polls.models import Question

from tests.faults import away
from tests.site.media.test_media_store import files

pytestmark = pytest.mark.slow


def test_a_picture_is_served_and_deleted_with_its_question(
    store: MediaStore, media_prefix: Path, member: Client, django_capture_on_commit_callbacks: Any
) -> None:
    before = files(media_prefix)
    assert ask(member).status_code == 302
    question = Question.objects.get()
    name = str(question.picture.name)
    [stored] = set(files(media_prefix)) - set(before)
    assert stored == media_prefix / "media" / name
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
    assert files(media_prefix) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("to_ask", [True, False], ids=["a question", "in the admin"])
def test_the_store_is_unavailable(
    store: MediaStore,
    media_port: int,
    media_prefix: Path,
    member: Client,
    admin_client: Client,
    caplog: pytest.LogCaptureFixture,
    how: signal.Signals,
    to_ask: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("config.media.TIMEOUT", 0.5)
    before = files(media_prefix)
    client = member if to_ask else admin_client
    client.raise_request_exception = False
    with away(media_port, how):
        answer = ask(client) if to_ask else ask_in_admin(client)
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert not Question.objects.exists()
    assert files(media_prefix) == before
    assert "uploads: " in caplog.text
    assert "Traceback" not in caplog.text
    assert (ask(client) if to_ask else ask_in_admin(client)).status_code == 302


def ask(member: Client) -> Any:
    picture = io.BytesIO()
    Image.effect_noise((640, 400), 50).save(picture, "PNG")
    upload = ContentFile(picture.getvalue(), name="cat.png")
    return member.post("/questions/new/", {"text": "Which?", "choices": "one\ntwo", "picture": upload})


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


def test_a_question_is_deleted_while_the_store_is_unavailable(
    store: MediaStore,
    media_port: int,
    member: Client,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    ask(member)
    name = str(Question.objects.get().picture.name)
    with away(media_port, signal.SIGTERM), django_capture_on_commit_callbacks(execute=True):
        Question.objects.get().delete()
    assert f"{name} stays: uploads: " in caplog.text
    assert store.exists(name)
