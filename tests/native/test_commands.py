"""`make up`, `down`, `restart` and `status` on this machine, with a copy of the project that the tests edit."""

import re
import socket
from pathlib import Path

import psutil
import pytest

from deploy.core.apps import APPS, INSTANCES, App
from deploy.core.probe import UNCACHED, take_out_of_rotation
from deploy.core.settings import is_secret, parse
from tests.stack.checks import each_app, is_from, upstream, workers_of
from tests.stacks import NativeStack, edited

FIRST = next(app for app in APPS.values() if app.server.listens)
# For each server kind: a file, and an edit of it with which no instance can start.
BREAK = {
    "uwsgi": ("deploy/uwsgi/{app}.ini", "\nmodule = ", "\nmodule = no_such_module_"),
    "gunicorn": ("deploy/apps.toml", 'application = "', 'application = "no_such_module_'),
}


def workers(stack: NativeStack, service: str) -> set[int]:
    return {worker.pid for worker in workers_of(stack.pids()[service])}


def names(app: App) -> set[str]:
    return {instance.name for instance in app.instances}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {service for service in before if before[service] != after[service]}


def test_first_time(copy: NativeStack) -> None:
    said = (copy.var.parent / "first").read_text()
    if any(app.seed for app in APPS.values()):
        assert re.search(r"password: \S{12,}", said)
    for service in ("nginx", *copy.instances):
        one = service in INSTANCES and not INSTANCES[service].server.listens
        assert re.search(rf"^ +{service} +{1 if one else copy.cores}\b", said, re.M), said
    assert f"{copy.url}/" in said
    env_file = copy.var.parent / "env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert (copy.var / "environment").stat().st_mode & 0o777 == 0o600
    for name, secret in parse(env_file.read_text()).items():
        if is_secret(name) and secret:
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
    assert "Already up to date" in said
    assert "password" not in said
    assert copy.processes() == before
    assert (copy.var.parent / "env").read_text() == secrets


@pytest.mark.parametrize("app", APPS.values(), ids=lambda app: app.name)
def test_an_edit_restarts_only_what_has_the_file(copy: NativeStack, app: App) -> None:
    before, concerned = copy.pids(), [other for other in APPS.values() if app.source[0] in other.source]
    path = sorted((copy.project / app.source[0]).rglob("*.py"))[-1].relative_to(copy.project)
    with edited(copy, str(path), "\n", "\n# Edited\n"):
        said = copy.up()
        assert changed(before, copy.pids()) == set().union(*map(names, concerned)), said
        assert said.count(" restarted and ready") == sum(len(other.instances) for other in concerned)
    copy.up()


def test_an_edit_of_nginx_reloads_it(copy: NativeStack) -> None:
    before, old = copy.pids(), workers(copy, "nginx")
    with edited(copy, "nginx/snippets/responses.conf", "To the start page", "Start again"):
        said = copy.up()
        assert "reloading" in said
        with copy.client() as client:
            assert "Start again" in client.get("/health/live").text
    assert copy.pids() == before
    assert not workers(copy, "nginx") & old
    copy.up()


def test_nginx_keeps_its_files_when_it_rejects_new_ones(copy: NativeStack) -> None:
    before, old = copy.pids(), workers(copy, "nginx")
    with edited(copy, "nginx/nginx.conf", "sendfile on;", "sendfile perhaps;"):
        done = copy.make("up")
    assert done.returncode
    assert "sendfile" in done.stdout
    assert "Traceback" not in done.stdout
    assert (copy.pids(), workers(copy, "nginx")) == (before, old)
    with copy.client(headers=UNCACHED) as client:
        assert is_from(client.get(FIRST.prefix), FIRST)
    assert "Already up to date" in copy.up()


@each_app
def test_an_app_that_cannot_start(copy: NativeStack, app: App) -> None:
    """`make up` fails with the end of its log, and the other instances, with the old code, still serve."""
    first, *others = (instance.name for instance in app.instances)
    before = copy.pids()
    path, old, new = BREAK[app.server.kind]
    with edited(copy, path.format(app=app.name), old, new):
        done = copy.make("up")
        assert done.returncode
        assert f"{first} cannot stay up" in done.stdout
        assert "No module named 'no_such_module_" in done.stdout
        assert changed(before, copy.pids()) == {first}
        assert f"{' and '.join(others)} still serves" in done.stdout
        with copy.client(headers=UNCACHED) as client:
            assert {is_from(client.get(app.prefix), app) for _ in range(20)} == {True}
        assert re.search(rf"^{first} .*out of rotation: `make restart`", copy.make("status").stdout, re.M)
    copy.up()
    with copy.client(headers=UNCACHED) as client:
        served = {upstream(client.get(app.prefix)) for _ in range(20)}
    assert {name for name in names(app) if any(socket.startswith(name) for socket in served)} == names(app)
    assert "Already up to date" in copy.up()


def test_restart_restarts_one_app(copy: NativeStack) -> None:
    before, app = copy.pids(), [*APPS.values()][-1]
    done = copy.make("restart", APP=app.name)
    assert done.returncode == 0, done.stdout
    after = copy.pids()
    assert changed(before, after) == names(app), done.stdout
    for wrong in (app.instances[0].name, "access", "bogus"):
        done = copy.make("restart", APP=wrong)
        assert done.returncode
        assert f"APP is {wrong!r}: should be one of " in done.stdout
        assert "Traceback" not in done.stdout
    assert copy.pids() == after


def test_make_up_puts_an_instance_back_in_rotation(copy: NativeStack) -> None:
    out = FIRST.instances[0].name
    take_out_of_rotation(copy.var / "run", out)
    assert f"{out} is out of rotation" in copy.up()
    with copy.client(headers=UNCACHED) as client:
        assert any(upstream(client.get(FIRST.prefix)).startswith(out) for _ in range(20))
    assert "Already up to date" in copy.up()


def test_a_changed_setting_is_applied(copy: NativeStack) -> None:
    before = copy.pids()
    logs = [copy.var / f"log/{name}.log" for name in copy.instances]
    try:
        done = copy.make("up", LOG_LEVEL="WARNING")
        assert done.returncode == 0, done.stdout
        assert changed(before, copy.pids()) == set(copy.instances)
        sizes = [log.stat().st_size for log in logs]
        with copy.client(headers=UNCACHED) as client:
            for app in APPS.values():
                if app.server.listens:
                    assert is_from(client.get(app.prefix), app)
        assert [log.stat().st_size for log in logs] == sizes
    finally:
        copy.up()


@pytest.mark.parametrize(("name", "value"), [("DATABASE_URL", "mysql://x"), ("TLS", "perhaps"), ("CORES", "two")])
def test_a_malformed_setting_is_named(copy: NativeStack, name: str, value: str) -> None:
    before = copy.pids()
    done = copy.make("up", **{name: value})
    assert done.returncode
    assert name in done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    if name != "DATABASE_URL":
        assert copy.pids() == before
    copy.up()


def test_status_shows_every_process(copy: NativeStack) -> None:
    done = copy.make("status")
    assert done.returncode == 0
    for service, pid in copy.pids().items():
        for process in (pid, *workers(copy, service)):
            assert re.search(rf"\b{process}\b", done.stdout), done.stdout
    assert done.stdout.count(" ready") == 1 + len(copy.instances)


def test_down_and_up_again_keeps_the_data(copy: NativeStack) -> None:
    made = (copy.var / "db.sqlite3").stat().st_ino
    copy.down()
    done = copy.make("status")
    assert done.returncode
    assert "Nothing is running" in done.stdout
    assert copy.make("restart").returncode
    assert copy.make("down").returncode == 0
    said = copy.up()
    assert "password" not in said
    assert (copy.var / "db.sqlite3").stat().st_ino == made


def test_down_after_supervisord_was_killed(copy: NativeStack) -> None:
    left = copy.processes()
    left[0].kill()
    done = copy.make("down")
    assert done.returncode == 0, done.stdout
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    copy.up()


@pytest.mark.parametrize(
    ("port", "why"),
    [(each, f"{each!r}: should be a number from 1 to 65535") for each in ("abc", "0", "65536", "")]
    + [("80", "80: ports below 1024 are for containers")],
)
def test_a_wrong_port_stops_make_up(tmp_path: Path, port: str, why: str) -> None:
    done = NativeStack(tmp_path).make("up", PORT=port)
    assert done.returncode
    assert f"PORT is {why}" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir()), "something was touched"


def test_a_busy_port_stops_make_up(tmp_path: Path) -> None:
    stack = NativeStack(tmp_path)
    with socket.create_server(("127.0.0.1", stack.port)):
        done = stack.make("up")
    assert done.returncode
    assert re.search(rf"{stack.port}.*in use", done.stdout), done.stdout
    assert not list(tmp_path.iterdir()), "something was touched"


def test_make_alone_lists_the_commands(tmp_path: Path) -> None:
    said = NativeStack(tmp_path).make("help").stdout
    for target in ("up", "down", "status", "logs", "test"):
        assert re.search(rf"^  {target} +\S", said, re.M), said
