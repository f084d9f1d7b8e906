"""What is written can be read, whatever people write; and a row that no form let in costs itself only."""

import unicodedata
from datetime import timedelta, timezone
from typing import Any

import pytest
from accounts.models import User
from config.fields import FIRST, LAST, visible
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image
from polls.models import Choice, Question
from polls.pictures import redraw

from tests.site.polls.test_pictures import NEGATIVE, encoded

pytestmark = pytest.mark.slow
thorough = effort(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=st.none() | zones).map(lambda time: time.isoformat()) | st.sampled_from(
    ["9999-12-31T23:59-12:00", "9999-12-31T23:59:59.999999-00:01", "0001-01-01T00:00+14:00", "2999-12-31T23:59", ""]
)
odd = st.sampled_from(
    ["\u200b", "\u2800", "\u3164", "e\u0301", "\u00e9", "\0", "\x1b", "\u2028", "\ufe0f", "Tea", " ", "\u00ad", "\r"]
)
texts = st.lists(odd | st.text(max_size=3), max_size=4).map("".join)


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("moderator"))
    return client


def read_everything(client: Client, question: Question) -> None:
    """Read each page that shows a question, and its page of deletion."""
    admin = f"/admin/polls/question/{question.pk}"
    lists = ["/", "/?state=closed", "/admin/polls/question/", "/admin/polls/question/?state=open"]
    for path in [*lists, f"/questions/{question.pk}/", f"{admin}/change/", f"{admin}/delete/"]:
        assert client.get(path).status_code == 200, path


@thorough
@given(text=texts, choices=st.lists(texts, max_size=4), closes_at=times)
def test_a_question_is_refused_or_can_be_read(staff: Client, text: str, choices: list[str], closes_at: str) -> None:
    form = {"text": text, "choices": "\n".join(choices), "closes_at": closes_at}
    answer = staff.post("/questions/new/", form)
    if answer.status_code == 200:
        assert "errorlist" in answer.content.decode()
        return
    assert answer.status_code == 302
    question = Question.objects.latest("pk")
    stored = [question.text, *question.choices.values_list("text", flat=True)]
    assert all(unicodedata.is_normalized("NFC", each) and visible(each) for each in stored)
    assert len(set(map(visible, stored[1:]))) == len(stored) - 1
    assert question.closes_at is None or FIRST <= question.closes_at <= LAST
    read_everything(staff, question)
    question.delete()


@thorough
@given(
    position=st.integers(-(2**65), 2**65) | st.integers(-(2**15) - 2, 2**15 + 1),
    closes_at=st.datetimes(timezones=zones),
)
def test_the_database_refuses_what_the_forms_refuse(question: Question, position: int, closes_at: Any) -> None:
    cases: list[tuple[Any, str, Any]] = [(Choice, "position", position), (Question, "closes_at", closes_at)]
    for kind, field, value in cases:
        try:
            kind._meta.get_field(field).clean(value, None)
            valid = True
        except Exception:
            valid = False
        try:
            with transaction.atomic():
                stored = kind.objects.update(**{field: value})
        except Exception:
            stored = 0
        assert bool(stored) == valid, value


# What a database takes without the constraints, as SQL.
BAD: dict[str, dict[str, list[str]]] = {
    "sqlite": {
        "closes_at": ["'10000-01-01 00:00:00'", "'2500-13-45 00:00:00'", "'soon'", "''", "x'ff'", "7", "-1.5"],
        "created_at": ["'soon'", "x'ff'", "7"],
        "text": ["CAST(x'ff41' AS TEXT)", "CAST(x'004100' AS TEXT)", "''", "7"],
        "picture": ["'../../x'", "'/etc/passwd'", "CAST(x'ff' AS TEXT)", "'pictures/' || hex(zeroblob(200))"],
        "version": ["-1", "'x'", "1.5"],
    },
    "postgresql": {
        "closes_at": ["'infinity'", "'-infinity'", "'10000-01-01'", "'294276-12-31'", "'0044-03-15 BC'"],
        "created_at": ["'infinity'", "'-infinity'", "'10000-01-01'", "'0044-03-15 BC'"],
        "text": ["''", "E'\\x01\\u200b'"],
        "picture": ["'../../x'", "'/etc/passwd'"],
        "version": ["-1"],
    },
}


@pytest.mark.parametrize("column", ["closes_at", "created_at", "text", "picture", "version"])
def test_a_row_that_should_not_exist(
    staff: Client, question: Question, column: str, django_capture_on_commit_callbacks: Any
) -> None:
    bad = BAD[connection.vendor][column]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        else:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE polls_question DROP CONSTRAINT polls_question_closes_at")
        for value in bad:
            cursor.execute(f"UPDATE polls_question SET {column} = {value} WHERE id = %s", [question.pk])  # noqa: S608
            read_everything(staff, question)
    with django_capture_on_commit_callbacks(execute=True):
        assert staff.post(f"/admin/polls/question/{question.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Question.objects.exists()


ENCODINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("JPEG", "L", {"exif": b"Exif\0\0" + NEGATIVE}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("PNG", "LA", {}),
    ("GIF", "P", {}),
    ("WEBP", "RGBA", {"exif": b"Exif\0\0" + NEGATIVE}),
]
NOISE = Image.effect_noise((48, 32), 50)
ORIGINALS = [encoded(NOISE.convert(mode), format, **options) for format, mode, options in ENCODINGS]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF data
@effort(max_examples=500, deadline=None, derandomize=True)
@given(
    original=st.sampled_from(ORIGINALS),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.none() | st.integers(0, 10_000),
    more=st.binary(max_size=20),
)
def test_a_damaged_picture_is_a_picture_or_a_form_error(
    original: bytes, changes: list[tuple[int, int]], cut: int | None, more: bytes
) -> None:
    damaged = bytearray(original)
    for place, byte in changes:
        damaged[place % min(len(damaged), 400)] = byte
    upload = SimpleUploadedFile("x", bytes(damaged[:cut]) + more)
    try:
        stored = redraw(upload)
    except ValidationError:
        return
    with Image.open(stored) as picture:
        assert picture.format == "WEBP"
        assert not picture.getexif()
