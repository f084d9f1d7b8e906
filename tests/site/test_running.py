"""Settings, health checks, logs, the bus and migrations, on which operators rely."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from accounts.models import User
from config import bus, health
from config.redis import Client as RedisClient
from config.settings import SHAPES
from django.conf import settings as site_settings
from django.core.management import call_command
from django.db import connection
from django.test import Client

from tests import servers
from tests.site.commands import SITE, manage

pytestmark = pytest.mark.slow


@pytest.mark.any_data
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "hunter2"),
        ("VAR_DIR", "var/hunter2"),
        ("DATABASE_URL", "mysql://me:hunter2@127.0.0.1/site"),
        ("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:port/site"),
        ("DATABASE_URL", "sqlite:///hunter2.sqlite3"),
        ("DATABASE_POOLER", "hunter2"),
        ("REDIS_URL", "hunter2"),
        ("ALLOWED_HOSTS", ""),
        ("UPLOAD_LIMIT_MB", ""),
        ("UPLOAD_LIMIT_MB", "0"),
        ("UPLOAD_LIMIT_MB", "6 MB"),
        ("TLS", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("INSTANCE", "hunter2"),
        ("INSTANCE", "a"),
        ("INSTANCE", "Site-a"),
    ],
)
def test_a_setting_that_is_wrong_stops_the_site_with_a_line(name: str, value: str) -> None:
    done = manage("check", **{name: value})
    assert done.returncode == 1
    assert done.stderr == f"site: {name}: {'malformed' if value else 'not set'}; should be {SHAPES[name]}\n"


@pytest.mark.any_data
def test_a_reader_that_closes_the_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "manage.py", "help"]
    with os.fdopen(writing) as closed:
        done = subprocess.run(command, cwd=SITE, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.any_data
@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/x", "sqlite:////etc/passwd", "postgresql://me@127.0.0.1:1/x", "postgresql://me@[::1]:1/x"],
)
def test_a_database_that_cannot_be_connected_to_is_a_line(url: str) -> None:
    done = manage("migrate", "--check", DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("database: ")
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "manage.py", "help"]
        done = subprocess.run(command, cwd=SITE, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "manage.py: No space left on device\n")


def test_each_wrong_setting_has_its_line() -> None:
    done = manage("check", SECRET_KEY="", TLS="perhaps", VAR_DIR="")
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["site", "SECRET_KEY"],
        ["site", "VAR_DIR"],
        ["site", "TLS"],
    ]


@pytest.mark.any_data
def test_the_deployment_check_is_clean() -> None:
    done = manage("check", "--deploy", "--fail-level", "INFO", TLS="on")
    assert done.returncode == 0, done.stderr


@pytest.mark.any_data
def test_with_tls_the_cookies_are_secure_and_of_this_host() -> None:
    names = ["SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"]
    script = f"from django.conf import settings; print([getattr(settings, name) for name in {names}])"
    done = manage("shell", "--verbosity=0", "--command", script, TLS="on")
    session, csrf = "__Host-tandem_session", "__Host-tandem_csrf"
    assert done.stdout.strip() == f"['{session}', '{csrf}', True, True]"


def test_migrations_are_complete(db: None) -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


PROMISES: dict[str, dict[str, object]] = {
    "sqlite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2},  # 2 is FULL
    "postgresql": {"SHOW statement_timeout": "10s", "SHOW lock_timeout": "5s", "SHOW synchronous_commit": "on"},
}


def test_the_connection_keeps_what_it_acknowledged_and_bounds_its_waits(db: None) -> None:
    for question, answer in PROMISES[connection.vendor].items():
        with connection.cursor() as cursor:
            cursor.execute(question)
            assert cursor.fetchone() == (answer,)


# Health


@pytest.fixture
def ready(client: Client) -> Any:
    """Asks /health/ready; returns the status and the JSON."""

    def ask() -> tuple[int, dict[str, str]]:
        response = client.get("/health/ready", headers={"host": "no such host"})
        return response.status_code, response.json()

    return ask


def test_live_needs_nothing(client: Client) -> None:
    response = client.get("/health/live", headers={"host": "no such host"})
    assert (response.status_code, response.json()) == (200, {"status": "live"})


@pytest.mark.django_db(transaction=True)
def test_ready(ready: Any) -> None:
    bus_state = "ok" if site_settings.REDIS_URL else "off"
    assert ready() == (200, {"status": "ready", "database": "ok", "bus": bus_state})


@pytest.mark.django_db(transaction=True)
def test_not_ready_without_a_database(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = {"postgresql": ("PORT", servers.free_port()), "sqlite": ("NAME", "/nowhere/db")}[connection.vendor]
    monkeypatch.setitem(connection.settings_dict, name, value)
    connection.close()
    status, body = ready()
    assert (status, body["status"]) == (503, "unready")
    assert "connection" in body["database"] or "unable to open" in body["database"]
    assert "\n" not in body["database"]


def test_a_database_that_hangs_is_not_waited_for(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(health, "check_database", over.wait)
    monkeypatch.setattr(health, "LIMIT", 0.2)
    try:
        for _ in range(3):
            status, body = ready()
            assert (status, body["database"]) == (503, "no answer within 0.2 s")
        assert len(health.thread._threads) == 1
    finally:
        over.set()


def test_not_ready_without_the_bus(ready: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "database", lambda: "ok")
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    status, body = ready()
    assert status == 503
    assert "refused" in body["bus"]


# Logs


REQUEST = """
from django.test import Client
client = Client(raise_request_exception=False)
response = client.get("{path}", headers={{"X-Request-ID": "0123abcd", "Cookie": "{cookie}"}})
print(response.headers.get("X-Request-ID"))
"""


def logged(path: str, cookie: str = "", **environment: str) -> tuple[str, list[dict[str, Any]]]:
    """Request a path in a new process without a database. Return the X-Request-ID of the response, and the log."""
    done = manage("shell", "--verbosity=0", "--command", REQUEST.format(path=path, cookie=cookie), **environment)
    return done.stdout.strip(), [json.loads(line) for line in done.stderr.splitlines()]


def test_a_request_is_a_line_of_json_with_its_id() -> None:
    header, lines = logged("/accounts/login/?next=/secret/", ALLOWED_HOSTS="testserver", INSTANCE="site-b")
    assert header == "0123abcd"
    [line] = lines
    assert line.pop("time").endswith("+00:00")
    assert line.pop("duration_ms") > 0
    assert line.pop("pid") > 0
    assert line == {
        "level": "INFO",
        "app": "site",
        "instance": "site-b",
        "logger": "access",
        "message": "GET /accounts/login/ 200",
        "request_id": "0123abcd",
        "method": "GET",
        "path": "/accounts/login/",
        "status": 200,
    }


def test_a_fault_has_its_traceback_in_the_log_with_the_request_id(tmp_path: Path) -> None:
    # There are no static files, whose hashes the page needs.
    header, lines = logged("/accounts/login/", ALLOWED_HOSTS="testserver", VAR_DIR=str(tmp_path))
    assert header == "0123abcd"
    assert {line["request_id"] for line in lines} == {"0123abcd"}
    fault = next(line for line in lines if line["level"] == "ERROR")
    assert "Missing staticfiles manifest entry" in fault["exc_info"]
    assert lines[-1]["status"] == 500


def test_an_outage_is_a_line_in_the_log(tmp_path: Path) -> None:
    nowhere = f"sqlite:///{tmp_path}/nowhere/db.sqlite3"
    # The site looks for the session in the database.
    session = f"{site_settings.SESSION_COOKIE_NAME}={'x' * 32}"
    header, lines = logged("/accounts/", session, ALLOWED_HOSTS="testserver", DATABASE_URL=nowhere)
    assert header == "0123abcd"
    assert [(line["level"], line["message"], line["request_id"]) for line in lines] == [
        ("WARNING", "database: unable to open database file", "0123abcd"),
        ("INFO", "GET /accounts/ 503", "0123abcd"),
    ]
    assert "exc_info" not in lines[0]


def test_health_is_not_in_the_access_log() -> None:
    assert logged("/health/live") == ("0123abcd", [])


# The bus and the cache


def test_a_redis_that_hangs_is_tried_once(settings: Any, new_bus: None, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connects, and never answers
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        bus.publish(["polls:1"])
        assert "not published: Timeout" in caplog.text
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_an_unavailable_redis_is_not_retried_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connects, and never answers
        client = RedisClient.from_url(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", socket_timeout=0.2)
        with pytest.raises(redis.TimeoutError):
            client.ping()
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        # 100 timeouts would take 20 s.
        assert time.monotonic() - began < 10
    with servers.redis() as url:
        client = RedisClient.from_url(url)
        with pytest.raises(redis.ConnectionError):
            client.ping()
        monkeypatch.setattr("config.redis.Client.back", time.monotonic())
        assert client.ping()


def test_users_stay_logged_in_without_redis(
    client: Client, user: User, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with servers.redis() as url:
        settings.CACHES = {
            "default": {"BACKEND": "config.redis.Cache", "LOCATION": url, "OPTIONS": site_settings.REDIS_OPTIONS}
        }
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
        client.force_login(user)
        assert client.get("/accounts/").status_code == 200
    assert client.get("/accounts/").status_code == 200
    assert "cache: GET" in caplog.text
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get("/accounts/").status_code == 302
    assert client.post("/accounts/login/", {"login": "mel", "password": "correct horse"}).status_code == 302


# What `make up` runs


def test_seed_makes_what_is_missing_once(db: None, capsys: pytest.CaptureFixture[str], client: Client) -> None:
    call_command("seed")
    said = capsys.readouterr().out
    password = said.partition("password: ")[2].split()[0]
    assert client.login(username="admin", password=password)
    call_command("seed")
    assert capsys.readouterr().out == ""
    assert User.objects.count() == 1


@pytest.mark.any_data
def test_static_files_are_compressed_under_their_hashed_names_and_only_once(tmp_path: Path, settings: Any) -> None:
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    [compressed] = tmp_path.glob("site.*.css.br")
    made = compressed.stat().st_mtime_ns
    assert compressed.with_suffix(".gz").exists()
    assert compressed.with_suffix("").exists()
    call_command("collectstatic", interactive=False, verbosity=0)
    assert compressed.stat().st_mtime_ns == made


@pytest.mark.any_data
def test_static_files_are_there_while_they_are_collected(settings: Any, tmp_path: Path) -> None:
    """Each of them, and whole, all the time."""
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.css")}
    assert whole
    # As a new release's are.
    for path in whole:
        os.utime(path, (0, 0))
    collected = threading.Event()

    def collect() -> None:
        call_command("collectstatic", interactive=False, verbosity=0)
        collected.set()

    thread = threading.Thread(target=collect)
    thread.start()
    while not collected.is_set():
        assert {path: path.read_bytes() for path in whole} == whole
    thread.join()
    assert any(path.stat().st_mtime for path in whole)
