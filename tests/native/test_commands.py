"""`make up`, `down`, `status`: on a copy of the project, which these tests edit."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.roll import take_out
from tests.sample import ENDPOINT
from tests.stack.test_serving import upstream
from tests.stacks import NativeStack, copied, edited


@pytest.fixture(scope="module")
def copy() -> Iterator[NativeStack]:
    """A running stack of a project whose files may be edited; `.copy.first` is what the first `make up` said."""
    with copied() as project:
        stack = NativeStack(project.parent, project=project)
        try:
            (project.parent / "first").write_text(stack.up())
            yield stack
        finally:
            stack.down()


def workers(stack: NativeStack, part: str) -> set[int]:
    return {worker.pid for worker in psutil.Process(stack.pids()[part]).children()}


def test_first_time(copy: NativeStack) -> None:
    said = (copy.var.parent / "first").read_text()
    assert re.search(r"password: \S{12,}", said)
    for part in ("nginx", "site-a", "site-b", "api-a", "api-b"):
        assert re.search(rf"^ +{part} +{copy.cores} ", said, re.M), said
    assert f"{copy.url}/" in said
    secrets = copy.var.parent / "env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert (copy.var / "environment").stat().st_mode & 0o777 == 0o600
    for secret in re.findall(r"^(?:SECRET_KEY|TOKEN_KEYS)=(.+)$", secrets.read_text(), re.M):
        assert len(secret) >= 50
        for log in (copy.var / "log").iterdir():
            assert secret not in log.read_text()
        for process in copy.processes():
            assert secret not in " ".join(process.cmdline())


def test_nothing_runs_as_root(copy: NativeStack) -> None:
    assert {process.username() for process in copy.processes()} != {"root"}
    for process in copy.processes():
        assert 0 not in process.uids(), process
    assert (copy.var / "run").stat().st_mode & 0o777 == 0o700


def test_second_time_changes_nothing(copy: NativeStack) -> None:
    before, secrets = copy.processes(), (copy.var.parent / "env").read_text()
    said = copy.up()
    assert "Nothing to do" in said
    assert "password" not in said
    assert copy.processes() == before
    assert (copy.var.parent / "env").read_text() == secrets


def test_an_edited_page_restarts_the_site_alone(copy: NativeStack) -> None:
    before = copy.pids()
    with edited(copy, "django_site/templates/404.html", "Nothing is here", "Nothing was ever here"):
        said = copy.up()
        with copy.client() as client:
            assert all("Nothing was ever here" in client.get("/nothing-here/").text for _ in range(8))
    after = copy.pids()
    assert {part for part in before if before[part] != after[part]} == {"site-a", "site-b"}, said
    assert "site-b restarted" in said
    copy.up()


def test_an_edit_of_nginx_reloads_it(copy: NativeStack) -> None:
    before, old = copy.pids(), workers(copy, "nginx")
    with edited(copy, "nginx/errors/error.html", "To the start page", "Start again"):
        said = copy.up()
        assert "reloading" in said
        with copy.client() as client:
            assert "Start again" in client.get("/health/live").text
    assert copy.pids() == before
    assert not workers(copy, "nginx") & old
    copy.up()


def test_a_broken_nginx_file_is_refused(copy: NativeStack) -> None:
    before, old = copy.pids(), workers(copy, "nginx")
    with edited(copy, "nginx/nginx.conf", "sendfile on;", "sendfile perhaps;"):
        done = copy.make("up")
    assert done.returncode
    assert "sendfile" in done.stdout
    assert "Traceback" not in done.stdout
    assert (copy.pids(), workers(copy, "nginx")) == (before, old)
    with copy.client() as client:
        assert client.get("/").status_code == 200
    assert "Nothing to do" in copy.up()


@pytest.mark.parametrize(
    ("app", "path", "served"),
    [("site", "django_site/config/wsgi.py", "/"), ("api", "deploy/gunicorn/api.py", ENDPOINT)],
)
def test_an_app_that_cannot_start(copy: NativeStack, app: str, path: str, served: str) -> None:
    """`make up` fails with the end of its log, and the other instance, with the old code, serves on."""
    other = copy.pids()[f"{app}-b"]
    with edited(copy, path, "import ", "import no_such_module\nimport " if app == "api" else "import no_such_module, "):
        done = copy.make("up")
        assert done.returncode
        assert f"{app}-a cannot stay up" in done.stdout
        assert "no_such_module" in done.stdout
        assert copy.pids()[f"{app}-b"] == other
        assert f"{app}-b serves on" in done.stdout
        with copy.client() as client:
            assert {client.get(served).status_code for _ in range(20)} == {200}
        assert re.search(rf"^{app}-a .*gets no requests: `make restart`", copy.make("status").stdout, re.M)
    copy.up()
    with copy.client() as client:
        assert {upstream(client.get(served)).split("-")[1] for _ in range(20)} == {"a", "b"}
    assert "Nothing to do" in copy.up()


def test_restart_is_of_what_it_says(copy: NativeStack) -> None:
    before = copy.pids()
    done = copy.make("restart", APP="api")
    assert done.returncode == 0, done.stdout
    after = copy.pids()
    assert {part for part in before if before[part] != after[part]} == {"api-a", "api-b"}, done.stdout
    for nothing in ("api-a", "access", "bogus"):
        done = copy.make("restart", APP=nothing)
        assert done.returncode
        assert "Traceback" not in done.stdout
    assert copy.pids() == after


def test_an_instance_that_is_out_comes_back_with_make_up(copy: NativeStack) -> None:
    take_out(copy.var / "run", "site-a")
    assert "site-a is out" in copy.up()
    with copy.client() as client:
        assert {upstream(client.get("/")) for _ in range(20)} == {"site-a", "site-b"}
    assert "Nothing to do" in copy.up()


def test_a_changed_setting_is_applied(copy: NativeStack) -> None:
    before = copy.pids()
    try:
        done = copy.make("up", LOG_LEVEL="WARNING")
        assert done.returncode == 0, done.stdout
        after = copy.pids()
        assert {part for part in before if before[part] == after[part]} == {"nginx"}
        log = copy.var / "log/site-a.log"
        size = log.stat().st_size
        with copy.client() as client:
            for _ in range(8):
                client.get("/accounts/login/")
        assert log.stat().st_size == size
    finally:
        copy.up()


def test_a_malformed_setting_is_a_line(copy: NativeStack) -> None:
    before = copy.pids()
    for name, value in [("TOKEN_KEYS", "short"), ("DATABASE_URL", "mysql://x"), ("TLS", "perhaps"), ("CORES", "two")]:
        done = copy.make("up", **{name: value})
        assert done.returncode
        assert name in done.stdout
        assert "Traceback" not in done.stdout, done.stdout
    assert copy.pids() == before
    assert "Nothing to do" in copy.up()


def test_status_shows_every_process(copy: NativeStack) -> None:
    done = copy.make("status")
    assert done.returncode == 0
    for process in copy.processes():
        if process.name() in ("nginx", "uwsgi", "gunicorn"):
            assert re.search(rf"\b{process.pid}\b", done.stdout), done.stdout
    assert done.stdout.count(" ready") == 5


def test_down_and_up_again_keeps_the_data(copy: NativeStack) -> None:
    copy.down()
    done = copy.make("status")
    assert done.returncode
    assert "Nothing is running" in done.stdout
    assert copy.make("restart").returncode
    assert copy.make("down").returncode == 0
    said = copy.up()
    assert "password" not in said
    with copy.client() as client:
        assert client.get(ENDPOINT).status_code == 200


def test_down_after_supervisord_was_killed(copy: NativeStack) -> None:
    left = copy.processes()
    left[0].kill()
    done = copy.make("down")
    assert done.returncode == 0, done.stdout
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    copy.up()


@pytest.mark.parametrize("port", ["abc", "0", "80", "65536", ""])
def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    done = NativeStack(tmp_path).make("up", PORT=port)
    assert done.returncode
    assert f"PORT is {port!r}" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir()), "something was touched"


def test_a_busy_port(tmp_path: Path) -> None:
    stack = NativeStack(tmp_path)
    with socket.create_server(("127.0.0.1", stack.port)):
        done = stack.make("up")
    assert done.returncode
    assert re.search(rf"{stack.port}.*in use", done.stdout), done.stdout
    assert not list(tmp_path.iterdir()), "something was touched"


def test_make_alone_lists_what_it_can_do(tmp_path: Path) -> None:
    said = NativeStack(tmp_path).make("help").stdout
    for target in ("up", "down", "status", "logs", "test"):
        assert re.search(rf"^  {target} +\S", said, re.M), said
