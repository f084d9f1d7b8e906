"""The site's rungs on the ladders of limits (test_ladders.py), and how uWSGI takes its file."""

import configparser
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from config import middleware

from deploy import instance
from deploy.env import PROJECT
from tests.config.test_ladders import nginx, noticed, ports, stop_grace_period, supervisor, timeout_stop


def uwsgi(option: str) -> int:
    file = configparser.ConfigParser(interpolation=None, strict=False)
    file.read(PROJECT / "deploy/uwsgi/site.ini")
    return file.getint("uwsgi", option)


def test_a_site_request_ends_before_its_worker_before_its_instance() -> None:
    assert uwsgi("harakiri") < uwsgi("worker-reload-mercy") < supervisor("site", "stopwaitsecs")


def test_no_two_workers_of_the_site_are_recycled_at_once() -> None:
    """nginx gives each as many requests; one that ends is away for up to a second."""
    file = (PROJECT / "deploy/uwsgi/site.ini").read_text()
    first = dict(re.findall(r"^set-placeholder = requests-([ab])=(\d+)$", file, re.M))
    turns = [int(first[name]) + worker * uwsgi("max-requests-delta") for name in "ab" for worker in range(8)]
    assert min(abs(one - other) for one, other in itertools.combinations(turns, 2)) >= 5000


def test_nginx_waits_longer_than_a_site_request_may_take() -> None:
    assert uwsgi("harakiri") < min(nginx("uwsgi_read_timeout"))


def test_what_a_worker_was_killed_over_is_not_sent_to_the_next() -> None:
    assert max(nginx("uwsgi_next_upstream_timeout")) < uwsgi("harakiri")


def test_only_what_could_not_connect_in_time_is_sent_to_the_next() -> None:
    [connect], [tries], [answer] = (
        nginx(f"uwsgi_{name}") for name in ("connect_timeout", "next_upstream_timeout", "read_timeout")
    )
    assert connect < tries < answer


def test_a_host_that_is_gone_is_noticed_while_its_requests_may_go_to_the_next() -> None:
    assert noticed() < min(nginx("uwsgi_next_upstream_timeout"))
    # To the next instance it has waited as long.
    assert noticed() < middleware.LONGEST_WAIT


def test_what_stops_ends_before_the_engine_or_systemd_ends_it() -> None:
    assert uwsgi("worker-reload-mercy") < min(stop_grace_period("site-a"), timeout_stop("site@.service"))


def test_an_instance_has_one_port_in_every_file() -> None:
    ini = (PROJECT / "deploy/uwsgi/site.ini").read_text()
    assert [int(port) for port in re.findall(r"port-[ab]=(\d+)", ini)] == ports("site")
    firewall = (PROJECT / "deploy/ansible/roles/base/templates/nftables.conf").read_text()
    assert f"{ports('site')[0]}-{ports('site')[1]} accept" in firewall


def test_nginx_takes_no_larger_body_than_the_site(settings: object) -> None:
    assert max(nginx("client_max_body_size")) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # type: ignore[attr-defined]


def test_nginx_takes_no_larger_headers_than_uwsgi() -> None:
    assert 4 * max(nginx("large_client_header_buffers")) <= uwsgi("buffer-size")


def test_what_nginx_lets_wait_fits_uwsgis_queue_and_that_the_kernels() -> None:
    assert instance.LISTEN <= uwsgi("listen") <= int(Path("/proc/sys/net/core/somaxconn").read_text())


@pytest.mark.parametrize("count", [1, 2, 8])
def test_uwsgi_runs_a_worker_per_core(tmp_path: Path, count: int) -> None:
    (tmp_path / "run").mkdir()
    environment = os.environ | {"CORES": str(count), "INSTANCE": "a", "VAR_DIR": str(tmp_path)}
    uwsgi = subprocess.Popen(
        [Path(sys.executable).with_name("uwsgi"), "--ini", PROJECT / "deploy/uwsgi/site.ini"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert uwsgi.stdout is not None
        spawned = 0
        for line in uwsgi.stdout:
            spawned += line.startswith("spawned uWSGI worker")
            if "Stats server enabled" in line:
                break
        assert spawned == count
    finally:
        uwsgi.terminate()
        uwsgi.communicate(timeout=30)


@pytest.mark.parametrize("instance", ["a", "b"])
@pytest.mark.parametrize("address", [None, "", "10.0.0.2"])
def test_where_an_instance_of_the_site_listens(tmp_path: Path, instance: str, address: str | None) -> None:
    own = {"INSTANCE": instance, "VAR_DIR": str(tmp_path)} | ({} if address is None else {"SITE_BIND": address})
    # What it would do; without the application.
    options = ["--ini", "deploy/uwsgi/site.ini", "--show-config", "--no-server", "--need-app=false"]
    done = subprocess.run(
        [Path(sys.executable).with_name("uwsgi"), *options],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]} | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sockets = [f"{tmp_path}/run/site-{instance}.sock.starting"]
    sockets += [f"{address}:{8001 + 'ab'.index(instance)}"] if address else []
    assert re.findall(r"^socket = (.*)$", done.stdout, re.M) == sockets, done.stdout
