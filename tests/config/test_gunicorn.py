"""gunicorn's file, for each app that it runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.core.apps import App, Instance
from deploy.core.nginx import words_of_app
from deploy.core.settings import PROJECT
from tests.config.files import apps, grace_period, gunicorn, nginx, supervisor, unit_timeout

each_app = pytest.mark.parametrize("app", apps("gunicorn"), ids=lambda app: app.name)
each_instance = pytest.mark.parametrize("instance", [i for app in apps("gunicorn") for i in app.instances], ids=str)


@each_app
def test_gunicorn_loads_the_apps_application(app: App) -> None:
    assert gunicorn(app)["wsgi_app"] == app.application
    assert gunicorn(app)["proc_name"] == app.instances[0].name


@each_app
def test_a_request_that_got_a_worker_killed_is_not_retried(app: App) -> None:
    assert min(nginx("proxy_next_upstream_timeout", app)) < int(gunicorn(app)["timeout"])
    assert min(nginx("proxy_read_timeout", app)) > int(gunicorn(app)["timeout"])


@each_app
def test_a_worker_drains_before_its_instance_is_killed(app: App) -> None:
    assert int(gunicorn(app)["graceful_timeout"]) < supervisor("gunicorn", "stopwaitsecs")
    assert supervisor("gunicorn", "stopwaitsecs") < unit_timeout(app.server)


@each_instance
def test_supervisord_stops_an_instance_before_the_engine_kills_it(instance: Instance) -> None:
    assert supervisor("gunicorn", "stopwaitsecs") < grace_period(instance.name)


@each_app
def test_nginx_closes_an_idle_connection_first(app: App) -> None:
    [seconds] = re.findall(r"keepalive_timeout (\d+)s;", words_of_app(app, Path("/nowhere"), 1, {})["KEEPALIVE"])
    assert int(seconds) < int(gunicorn(app)["keepalive"])


@each_app
@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_worker_for_each_core(app: App, count: int) -> None:
    command = [Path(sys.executable).with_name("gunicorn"), "--config", "deploy/gunicorn/config.py", "--print-config"]
    own = {"CORES": str(count), "APP": app.name, "INSTANCE": app.instances[0].name}
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | own, capture_output=True, text=True, check=True)
    assert re.search(rf"^workers += {count}$", done.stdout, re.M)
