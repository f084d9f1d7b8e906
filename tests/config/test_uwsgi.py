"""uWSGI's files: its deadlines, its queue, its workers and its sockets."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.core.apps import App, Instance
from deploy.core.settings import PROJECT
from deploy.doctor.limits import LISTEN_QUEUES, OPEN_FILES
from deploy.servers import uwsgi as kind
from tests.config.files import apps, grace_period, nginx, supervisor, unit_timeout
from tests.config.uwsgi import uwsgi, uwsgi_number

pytestmark = pytest.mark.slow

each_app = pytest.mark.parametrize("app", apps("uwsgi"), ids=lambda app: app.name)
each_instance = pytest.mark.parametrize("instance", [i for app in apps("uwsgi") for i in app.instances], ids=str)


@each_app
def test_a_request_ends_before_its_worker_before_its_instance(app: App) -> None:
    assert uwsgi_number(app, "harakiri") < uwsgi_number(app, "worker-reload-mercy")
    for stop in (supervisor("uwsgi", "stopwaitsecs"), unit_timeout(app.server), grace_period(app)):
        assert uwsgi_number(app, "worker-reload-mercy") < stop


@each_app
def test_nginx_waits_longer_than_a_request_may_take(app: App) -> None:
    assert uwsgi_number(app, "harakiri") < min(nginx("uwsgi_read_timeout", app))


@each_app
def test_a_request_that_got_a_worker_killed_is_not_retried(app: App) -> None:
    assert max(nginx("uwsgi_next_upstream_timeout", app)) < uwsgi_number(app, "harakiri")


@each_app
def test_nginx_takes_no_larger_headers_than_uwsgi(app: App) -> None:
    assert 4 * max(nginx("large_client_header_buffers")) <= uwsgi_number(app, "buffer-size")


@each_app
def test_limits_are_those_of_the_server_kind(app: App) -> None:
    assert uwsgi_number(app, "listen") == kind.LISTEN == LISTEN_QUEUES[app.server.kind]
    assert uwsgi_number(app, "max-fd") == OPEN_FILES[app.server.kind]


@each_app
def test_no_two_workers_are_replaced_at_the_same_time(app: App) -> None:
    """nginx sends each worker this many requests. The master notices up to a second late that a worker ended."""
    step = uwsgi_number(app, "max-requests-delta")
    first = [int(dict(uwsgi(instance))["max-requests"]) for instance in app.instances]
    turns = [requests + worker * step for requests in first for worker in range(8)]
    assert min(abs(one - other) for one, other in itertools.combinations(turns, 2)) >= 2000


@each_instance
@pytest.mark.parametrize("address", [None, "", "10.0.0.2"])
def test_sockets(instance: Instance, address: str | None) -> None:
    found = uwsgi(instance, "/nowhere", **({} if address is None else {"BIND": address}))
    sockets = [f"/nowhere/run/{instance}.sock.starting", *([f"{address}:{instance.port()}"] if address else [])]
    assert [value for option, value in found if option == "socket"] == sockets


@each_app
def test_a_worker_for_each_core(app: App, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    own = {"CORES": "3", "APP": app.name, "INSTANCE": app.instances[0].name, "VAR_DIR": str(tmp_path)}
    started = subprocess.Popen(
        [Path(sys.executable).with_name("uwsgi"), "--ini", f"deploy/uwsgi/{app.name}.ini"],
        cwd=PROJECT,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert started.stdout is not None
        spawned, lines = 0, []
        for line in started.stdout:
            lines.append(line)
            spawned += line.startswith("spawned uWSGI worker")
            if "Stats server enabled" in line:
                break
        assert spawned == 3, "".join(lines)
    finally:
        started.terminate()
        started.communicate(timeout=30)
