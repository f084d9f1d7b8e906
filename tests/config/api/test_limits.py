"""The api's limits fit those of nginx, gunicorn and the kernel."""

import pytest

from deploy.core.apps import APPS
from deploy.core.settings import PROJECT
from deploy.doctor.limits import OPEN_FILES
from tests.config.files import nginx, seconds_until_noticed
from tests.config.gunicorn import gunicorn
from tornado_api import limits

API = APPS["api"]


@pytest.mark.slow
def test_a_request_ends_before_its_worker() -> None:
    assert limits.DATABASE_DEADLINE < limits.REQUEST_DEADLINE
    assert limits.LONGEST_WAIT < limits.REQUEST_DEADLINE
    assert int(gunicorn(API)["graceful_timeout"]) > limits.REQUEST_DEADLINE
    assert min(nginx("proxy_read_timeout", API)) > limits.REQUEST_DEADLINE


def test_a_long_poll_on_a_lost_host_is_retried() -> None:
    assert limits.LONGEST_WAIT + seconds_until_noticed() < max(nginx("proxy_next_upstream_timeout", API))


def test_a_watcher_may_miss_a_heartbeat() -> None:
    assert max(nginx("proxy_read_timeout", API)) > 2 * limits.HEARTBEAT


def test_nginx_takes_no_larger_body_than_the_api() -> None:
    assert max(nginx("client_max_body_size", API)) <= limits.MAX_BODY


def test_nginx_and_the_api_hold_as_many_watchers() -> None:
    """A watcher takes two connections of nginx's worker, and a quarter of them is for other requests."""
    assert nginx("limit_conn live_of_worker", API) == [limits.MAX_WATCHERS]
    connections = max(nginx("worker_connections"))
    assert 3 / 4 * connections >= 2 * limits.MAX_WATCHERS
    assert min(nginx("worker_rlimit_nofile")) > 1.2 * connections


def test_systemd_and_docker_let_nginx_open_its_files() -> None:
    [files] = nginx("worker_rlimit_nofile")
    assert f"\nLimitNOFILE={files}\n" in (PROJECT / "deploy/systemd/sandbox.conf").read_text()
    assert f"nofile: {{soft: {files}, hard: {files}}}" in (PROJECT / "deploy/docker/common.yml").read_text()


def test_a_worker_may_open_a_file_for_each_watcher() -> None:
    assert OPEN_FILES[API.server.kind] == 2 * limits.MAX_WATCHERS
