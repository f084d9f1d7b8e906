"""gunicorn's file, for each app that it runs."""

import re
from pathlib import Path

import pytest

from deploy.core.apps import App
from deploy.core.nginx import words_of_app
from tests.config.files import apps, grace_period, nginx, supervisor, unit_timeout
from tests.config.gunicorn import gunicorn

each_app = pytest.mark.parametrize("app", apps("gunicorn"), ids=lambda app: app.name)


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


@each_app
def test_supervisord_stops_an_instance_before_the_engine_kills_it(app: App) -> None:
    assert supervisor("gunicorn", "stopwaitsecs") < grace_period(app)


@each_app
def test_nginx_closes_an_idle_connection_first(app: App) -> None:
    [seconds] = re.findall(r"keepalive_timeout (\d+)s;", words_of_app(app, Path("/nowhere"), 1, {})["KEEPALIVE"])
    assert int(seconds) < int(gunicorn(app)["keepalive"])


@each_app
def test_a_worker_for_each_core(app: App) -> None:
    assert gunicorn(app)["workers"] == "3"
