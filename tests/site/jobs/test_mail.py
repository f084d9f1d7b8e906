"""Mail is enqueued by the request and sent by a worker, to a real SMTP server."""

import socket
from collections.abc import Iterator
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from config.env import ValidationError
from django.core.mail import EmailMultiAlternatives, send_mail
from django.db import transaction
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult
from jobs import mail, worker
from jobs.settings import SHAPES, parse_mail_server, parse_sender
from jobs.worker import Worker, run

from tests.site.commands import manage
from tests.site.jobs.smtp import Server, smtp_server

READY, FAILED = TaskResultStatus.READY, TaskResultStatus.FAILED


@pytest.fixture
def server(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    settings.EMAIL_BACKEND = "jobs.mail.EmailBackend"
    with smtp_server() as server:
        monkeypatch.setattr(mail, "MAIL_SERVER", parse_mail_server(server.url) | {"timeout": 1})
        yield server


def work() -> None:
    while job := Worker().claim():
        run(job)


def write(*recipients: str) -> None:
    assert send_mail("Grüße", "A line\n.\nÜber", "Shop <shop@example.org>", recipients or ["mel@example.org"]) == 1


def test_a_worker_sends_what_a_request_wrote(server: Server) -> None:
    message = EmailMultiAlternatives("Grüße", "Über\n.\nuns", to=["Mel <mel@example.org>"], bcc=["bo@example.org"])
    message.attach_alternative("<p>Über uns</p>", "text/html")
    message.attach("a.bin", bytes(range(256)), "application/octet-stream")
    message.send()
    assert server.received == []
    work()
    assert sorted(to for to, _ in server.received) == ["bo@example.org", "mel@example.org"]
    assert server.logins == [("me", "p/w@d")] * 2
    (_, first), (_, second) = server.received
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["To"], first["Bcc"], first["From"]) == ("Mel <mel@example.org>", None, "webmaster@localhost")
    assert str(make_header(decode_header(first["Subject"]))) == "Grüße"
    parts: list[Any] = [part for part in first.walk() if not part.is_multipart()]
    plain, html, attached = (part.get_payload(decode=True) for part in parts)
    assert plain.decode().splitlines() == ["Über", ".", "uns"]
    assert (html.decode().strip(), attached) == ("<p>Über uns</p>", bytes(range(256)))
    assert not DBTaskResult.objects.exists()


def test_a_rollback_sends_nothing(server: Server) -> None:
    with transaction.atomic():
        write()
        transaction.set_rollback(True)
    work()
    assert server.received == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "answers",
    [
        {"MAIL": "451 try later"},
        {"RCPT": "450 greylisted"},
        {"DATA": "452 no room"},
        {"MAIL": "421 closing"},
        {"MAIL": "hang"},
        {"DATA": "hang"},
        {"RCPT": "drop"},
        {"DATA": "drop"},
        {"AUTH": "no"},
    ],
    ids=str,
)
def test_mail_waits_for_a_server_that_cannot_take_it(server: Server, answers: dict[str, str]) -> None:
    server.answers = answers
    write()
    work()
    job = DBTaskResult.objects.get()
    assert (job.status, server.received) == (READY, [])
    server.answers = {}
    DBTaskResult.objects.update(run_after=job.enqueued_at)
    work()
    assert [to for to, _ in server.received] == ["mel@example.org"]
    assert not DBTaskResult.objects.exists()


def test_mail_waits_for_a_server_that_refuses_connections(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(mail, "MAIL_SERVER", parse_mail_server(f"smtp://127.0.0.1:{taken.getsockname()[1]}"))
        write()
        work()
    assert DBTaskResult.objects.get().status == READY


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_rejected_mail_becomes_a_failed_job(server: Server, command: str) -> None:
    server.answers = {command: "550 5.1.1 rejected"}
    write()
    work()
    job = DBTaskResult.objects.get()
    assert (job.status, job.exception_class_path) == (FAILED, "jobs.worker.Rejected")
    assert "550" in job.traceback
    assert "p/w@d" not in job.traceback


def test_recipients_do_not_depend_on_each_other(server: Server) -> None:
    server.answers = {"no@example.org": "550 unknown", "full@example.org": "452 full"}
    write("no@example.org", "full@example.org", "mel@example.org")
    work()
    work()
    assert [to for to, _ in server.received] == ["mel@example.org"]
    assert sorted(DBTaskResult.objects.values_list("status", flat=True)) == [FAILED, READY]


def test_mail_without_a_server_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MAIL_SERVER", {})
    write()
    work()
    job = DBTaskResult.objects.get()
    assert job.status == READY
    assert "EMAIL_URL is not set" in job.traceback


def test_mail_in_a_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MAIL_SERVER", parse_mail_server(f"file://{tmp_path}"))
    write()
    work()
    [file] = tmp_path.iterdir()
    assert "To: mel@example.org" in file.read_text()


@pytest.mark.parametrize("console", [True, False])
def test_mail_in_the_terminal(
    server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, console: bool
) -> None:
    """`make dev` shows mail without any setting."""
    settings.DEBUG = not console
    monkeypatch.setattr(mail, "MAIL_SERVER", parse_mail_server("console:") if console else {})
    write()
    work()
    assert "To: mel@example.org" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", ("mail.example.org", 25, "", "", False, False)),
        ("smtp+tls://me:p%2Fw@mail.example.org", ("mail.example.org", 587, "me", "p/w", True, False)),
        ("smtp+ssl://me:pw@[::1]:2465/", ("::1", 2465, "me", "pw", False, True)),
    ],
)
def test_the_mail_server(url: str, expected: tuple[Any, ...]) -> None:
    found = parse_mail_server(url)
    assert tuple(found[name] for name in ("host", "port", "username", "password", "use_tls", "use_ssl")) == expected


@pytest.mark.parametrize(
    "url",
    ["mail.example.org", "http://h", "smtp:", "smtp://", "smtp://me:p/w@h", "smtp://me:1#w@h", "smtp://me:1?w@h",
     "smtp://h:port", "smtp://h:99999", "smtp://[h", "file://var/mail", "file:", "console"],
)  # fmt: skip
def test_a_wrong_mail_server(url: str) -> None:
    with pytest.raises(ValidationError, match="smtp://user:password@host:port"):
        parse_mail_server(url)


@pytest.mark.parametrize("value", ["shop", "Shop <shop>", "a@b\nBcc: x@y", ""])
def test_a_wrong_sender(value: str) -> None:
    with pytest.raises(ValidationError):
        parse_sender(value)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("EMAIL_URL", "smtp://me:hunter2/@h"), ("DEFAULT_FROM_EMAIL", "hunter2")])
def test_a_wrong_setting_stops_the_site_with_a_line(name: str, value: str) -> None:
    done = manage("check", **{name: value})
    assert (done.returncode, done.stderr) == (1, f"site: {name}: malformed; should be {SHAPES[name]}\n")


def test_the_limit_of_a_job_has_room_for_a_mail() -> None:
    """Connect, greet, log in and send: some steps may each take almost all of their time."""
    assert parse_mail_server("smtp://h")["timeout"] * 3 < worker.LIMIT
