"""503 while the database is gone, blocked or slow, and for who waited too long; afterwards nothing needs a restart."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from accounts.models import User
from config import errors, middleware
from django.conf import settings as site_settings
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from tests import servers
from tests.faults import away
from tests.site.commands import manage
from tests.standby import postgresql_cluster

pytestmark = pytest.mark.slow

FIRST_DATA = """
from accounts.models import User
User.objects.create_superuser("admin", password="correct horse")
"""


@pytest.fixture
def database_url() -> Iterator[str]:
    """A PostgreSQL of this test's own, with an admin."""
    with servers.postgresql() as url:
        manage("migrate", "-v0", DATABASE_URL=url).check_returncode()
        manage("createcachetable", DATABASE_URL=url).check_returncode()
        manage("shell", "-v0", "-c", FIRST_DATA, DATABASE_URL=url).check_returncode()
        yield url


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def site(database_url: str, log: Path) -> Iterator[Callable[..., httpx.Client]]:
    """The site on one worker of uWSGI. `site()` is a new client of it, whose forms may be sent."""
    port = servers.free_port()
    command = ["env", f"DATABASE_URL={database_url}", str(Path(sys.executable).with_name("uwsgi")), "--strict"]
    command += ["--http-socket", f"127.0.0.1:{port}", "--logto", str(log), "--disable-logging", "--die-on-term"]
    command += ["--chdir", str(site_settings.BASE_DIR), "--module", "config.wsgi:application", "--need-app"]
    command += ["--enable-threads", "--post-buffering", "8192", "--buffer-size", "32768"]
    with servers.running(command, port), ExitStack() as clients:

        def new() -> httpx.Client:
            # uWSGI's http-socket closes each connection, and does not say so.
            once = httpx.Limits(max_keepalive_connections=0)
            client = clients.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=once, timeout=30))
            # For its cookie; it needs no database.
            assert client.get("/accounts/login/").status_code == 200
            return client

        yield new


def post(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data=form | {"csrfmiddlewaretoken": client.cookies["tandem_csrf"]})


def log_in(client: httpx.Client) -> httpx.Response:
    return post(client, "/accounts/login/", login="admin", password="correct horse")


def each_kind(anonymous: httpx.Client, admin: httpx.Client) -> list[httpx.Response]:
    name = f"new-{time.time_ns()}"
    new_user = {"username": name, "email": f"{name}@example.org"}
    passwords = {"password1": "correct horse battery", "password2": "correct horse battery"}
    return [
        *[admin.get(path) for path in ("/", "/accounts/", "/nothing-here/")],
        *[admin.get(path) for path in ("/admin/", "/admin/accounts/user/", "/admin/accounts/user/1/change/")],
        post(admin, "/admin/accounts/user/", action="delete_selected", _selected_action="1"),
        post(anonymous, "/accounts/signup/", **new_user, **passwords),
        log_in(anonymous),
    ]


@contextmanager
def gone(database_url: str) -> Iterator[None]:
    """In the block there is no PostgreSQL. After it there is one that is ready, which is later than that it listens."""
    with away(urlsplit(database_url).port or 0, signal.SIGINT):
        yield
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(database_url).close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.any_data
def test_an_outage_of_postgresql(site: Callable[..., httpx.Client], database_url: str, log: Path) -> None:
    admin = site()
    assert log_in(admin).status_code == 302
    requests = len(each_kind(site(), admin))
    before = len(log.read_text().splitlines())
    with gone(database_url):
        started = time.monotonic()
        answers = each_kind(site(), admin)
        assert time.monotonic() - started < requests, "each had a second"
        # The page of an address that does not exist needs no database.
        refused = [answer for answer in answers if answer.status_code != 404]
        assert len(refused) == requests - 1
        assert {answer.status_code for answer in refused} == {503}
        assert all("Back in a moment" in answer.text for answer in refused)
        # Nobody is logged out by it.
        assert not [answer.headers["Set-Cookie"] for answer in answers if "Set-Cookie" in answer.headers]
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert len(lines) == 2 * len(refused) + 1 + 1, "a line for the reason, and an access line"
    assert len([line for line in lines if line["message"].startswith("database: ")]) == len(refused)
    assert {answer.status_code for answer in each_kind(site(), admin)} == {200, 302, 404}


@pytest.mark.any_data
def test_postgresql_restarted_between_two_requests(site: Callable[..., httpx.Client], database_url: str) -> None:
    admin = site()
    assert log_in(admin).status_code == 302
    with psycopg.connect(database_url) as other:
        [kept] = other.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'site-%'")
    assert kept == (1,), "there is a connection to lose"
    with gone(database_url):
        pass
    assert [admin.get("/accounts/").status_code for _ in range(3)] == [200] * 3


@pytest.mark.any_data
def test_a_server_that_became_read_only(site: Callable[..., httpx.Client], database_url: str) -> None:
    """Its connection is dropped, so that the next one can find the primary."""
    admin = site()
    assert log_in(admin).status_code == 302
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    with gone(database_url):
        pass
    refused = post(admin, "/accounts/logout/")
    assert refused.status_code == 503
    assert "Back in a moment" in refused.text
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SET default_transaction_read_only = off")
        other.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
    assert post(admin, "/accounts/logout/").status_code == 302


@pytest.mark.any_data
def test_the_primary_of_several_servers_is_found() -> None:
    with postgresql_cluster() as (several, primary):
        manage("migrate", "-v0", DATABASE_URL=several).check_returncode()
        # As in a switchover, there is no primary for a while.
        with ThreadPoolExecutor() as pool:
            with away(urlsplit(primary).port or 0, signal.SIGINT):
                check = pool.submit(manage, "migrate", "-v0", "--check", DATABASE_URL=several)
                time.sleep(2)
            check.result().check_returncode()


def test_a_page_that_lost_its_connection_is_built_again(rf: RequestFactory) -> None:
    answers = [errors.unavailable("database: lost"), HttpResponse("built again")]
    answers[0].lost_connection = True  # type: ignore[attr-defined]
    for request, expected in ((rf.get("/"), answers[1]), (rf.post("/"), answers[0])):
        left = iter(answers)

        def view(_: HttpRequest, left: Iterator[HttpResponse] = left) -> HttpResponse:
            return next(left)

        assert middleware.repeat(view)(request) is expected


LOCKS = {
    "sqlite": ("PRAGMA busy_timeout = 100", "BEGIN IMMEDIATE"),
    "postgresql": ("SET lock_timeout = 100", "BEGIN; LOCK TABLE django_session, {} IN SHARE MODE"),
}


@contextmanager
def locked(table: str = "accounts_user") -> Iterator[None]:
    """For the block, another connection locks the database: a write to the table or a session fails after 0.1 s."""
    shorter, lock = LOCKS[connection.vendor]
    other = connection.copy()
    with connection.cursor() as cursor, other.cursor() as holder:
        cursor.execute(shorter)
        holder.execute(lock.format(table))
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
            other.close()
            connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_session_that_cannot_be_saved(client: Client, user: User, caplog: pytest.LogCaptureFixture) -> None:
    client.raise_request_exception = False
    form = {"login": "mel", "password": "correct horse"}
    with ExitStack() as stack:

        def lock(**signal: object) -> None:
            stack.enter_context(locked())

        # After the view has made the session, and before the middleware saves what is in it.
        user_logged_in.connect(lock)
        stack.callback(user_logged_in.disconnect, lock)
        assert client.post("/accounts/login/", form).status_code == 503
    assert "database: " in caplog.text
    assert "Traceback" not in caplog.text
    assert client.post("/accounts/login/", form).status_code == 302


# Without the database: pytest-django refuses each query.


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_request_that_waited_too_long_is_rejected_at_once(
    client: Client, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    client.cookies["tandem_session"] = "x" * 32
    answer = getattr(client, method)("/", headers={"X-Request-Start": f"{time.time() - 9:.3f}"})
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    why, line = (record.getMessage() for record in caplog.records)
    assert why.startswith("not begun: waited 9.")
    assert line == f"{method.upper()} / 503"


@pytest.mark.parametrize("passed_on", ["", "x", "nan", "-inf", "0", "1.5", "1000000000"])
def test_a_malformed_start_time_is_ignored(client: Client, passed_on: str) -> None:
    assert client.get("/accounts/login/", headers={"X-Request-Start": passed_on}).status_code == 200


@pytest.mark.parametrize("ago", [0, 1, -3600])
def test_others_are_served(client: Client, ago: int) -> None:
    passed_on = f"{time.time() - ago:.3f}"
    assert client.get("/accounts/login/", headers={"X-Request-Start": passed_on}).status_code == 200


def test_health_is_answered_however_late(client: Client) -> None:
    assert client.get("/health/live", headers={"X-Request-Start": f"{time.time() - 60:.3f}"}).status_code == 200
