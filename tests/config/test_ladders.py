"""Each timeout exceeds the one that it depends on, in every file."""

import re

import pytest

from deploy.core.apps import APPS, App
from deploy.core.settings import PROJECT
from deploy.servers import SERVERS, Server
from tests.config.files import grace_period, nginx, seconds_until_noticed, supervisor, unit_timeout

LISTENING = [app for app in APPS.values() if app.server.listens]
# The directives of nginx that talk to a server kind start with this word.
PROTOCOL = {"uwsgi": "uwsgi", "gunicorn": "proxy"}


@pytest.mark.parametrize("app", LISTENING, ids=lambda app: app.name)
def test_nginx_retries_only_while_connecting(app: App) -> None:
    connect, tries, answer = (
        nginx(f"{PROTOCOL[app.server.kind]}_{name}", app)
        for name in ("connect_timeout", "next_upstream_timeout", "read_timeout")
    )
    assert max(connect) < min(tries) < min(answer)
    assert max(tries) < max(answer)


@pytest.mark.parametrize("app", LISTENING, ids=lambda app: app.name)
def test_a_lost_host_is_noticed_while_nginx_may_still_retry(app: App) -> None:
    assert seconds_until_noticed() < min(nginx(f"{PROTOCOL[app.server.kind]}_next_upstream_timeout", app))


def test_nginx_stops_before_supervisord_kills_it() -> None:
    [seconds] = re.findall(r"timeout (\d+) ", (PROJECT / "deploy/supervisor/nginx.sh").read_text())
    assert int(seconds) < supervisor("nginx", "stopwaitsecs")


@pytest.mark.parametrize("app", APPS.values(), ids=lambda app: app.name)
def test_the_engine_waits_for_an_instance_as_long_as_supervisord(app: App) -> None:
    assert supervisor(app.server.kind, "stopwaitsecs") <= grace_period(app)


@pytest.mark.parametrize("server", SERVERS.values(), ids=lambda server: server.kind)
def test_systemd_waits_for_an_instance_as_long_as_supervisord(server: Server) -> None:
    assert supervisor(server.kind, "stopwaitsecs") <= unit_timeout(server)
