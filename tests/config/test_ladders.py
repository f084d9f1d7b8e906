"""The ladders of limits: each rung must hold what the one below it may take, in every file that has one."""

import configparser
import itertools
import re
import runpy
from pathlib import Path

import pytest
import yaml
from config import middleware

from deploy import instance
from deploy.env import PROJECT
from tornado_api import limits

NGINX = "\n".join(file.read_text() for file in (PROJECT / "nginx").rglob("*.conf"))


def uwsgi(option: str) -> int:
    file = configparser.ConfigParser(interpolation=None, strict=False)
    file.read(PROJECT / "deploy/uwsgi/site.ini")
    return file.getint("uwsgi", option)


def supervisor(app: str, option: str) -> int:
    file = configparser.RawConfigParser(inline_comment_prefixes=" ;")
    file.read(PROJECT / f"deploy/supervisor/{app}.conf")
    return file.getint(f"program:tandem-{app}", option)


@pytest.fixture
def gunicorn(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setenv("INSTANCE", "a")
    monkeypatch.setenv("API_BIND", "unix:/nowhere/{instance}-{slot}.sock")
    return runpy.run_path(str(PROJECT / "deploy/gunicorn/api.py"))


def nginx(directive: str) -> list[int]:
    """Every value of a directive: seconds, or bytes."""
    units = {"": 1, "s": 1, "k": 1024, "m": 1024**2}
    found = [int(n) * units[unit] for n, unit in re.findall(rf"^\s*{directive} (?:4 )?(\d+)([skm]?);", NGINX, re.M)]
    assert found, directive
    return found


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


@pytest.mark.parametrize("protocol", ["uwsgi", "proxy"])
def test_what_a_worker_was_killed_over_is_not_sent_to_the_next(protocol: str, gunicorn: dict[str, int]) -> None:
    assert min(nginx(f"{protocol}_next_upstream_timeout")) < min(uwsgi("harakiri"), gunicorn["timeout"])


@pytest.mark.parametrize("protocol", ["uwsgi", "proxy"])
def test_only_what_could_not_connect_in_time_is_sent_to_the_next(protocol: str) -> None:
    connect, tries, answer = (
        nginx(f"{protocol}_{name}") for name in ("connect_timeout", "next_upstream_timeout", "read_timeout")
    )
    assert max(connect) < min(tries) < min(answer)
    assert max(tries) < max(answer)


def test_a_host_that_is_gone_is_noticed_while_its_requests_may_go_to_the_next() -> None:
    text = (PROJECT / "deploy/ansible/roles/base/files/sysctl.conf").read_text()
    idle, interval, probes = (
        int(value) for value in re.findall(r"^net\.ipv4\.tcp_keepalive_\w+ = (\d+)$", text, re.MULTILINE)
    )
    noticed = idle + interval * probes
    request, live = nginx("proxy_next_upstream_timeout")
    assert noticed < min(request, *nginx("uwsgi_next_upstream_timeout"))
    # To the next instance of the site it has waited as long.
    assert noticed < middleware.LONGEST_WAIT
    assert limits.LONGEST_WAIT + noticed < live


def test_an_api_request_ends_before_its_worker_before_its_instance(gunicorn: dict[str, int]) -> None:
    assert limits.DATABASE_DEADLINE < limits.REQUEST_DEADLINE
    assert limits.LONGEST_WAIT < limits.REQUEST_DEADLINE
    assert limits.REQUEST_DEADLINE < gunicorn["graceful_timeout"] < supervisor("api", "stopwaitsecs")
    assert min(nginx("proxy_read_timeout")) > max(limits.REQUEST_DEADLINE, gunicorn["timeout"])


def test_a_watcher_may_miss_a_heartbeat() -> None:
    assert max(nginx("proxy_read_timeout")) > 2 * limits.HEARTBEAT


def test_nginx_ends_before_supervisord_ends_it() -> None:
    [seconds] = re.findall(r"timeout (\d+) ", (PROJECT / "deploy/supervisor/nginx.sh").read_text())
    assert int(seconds) < supervisor("nginx", "stopwaitsecs")


def stop_grace_period(service: str) -> int:
    """In a container."""
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    return int(services[service]["stop_grace_period"].removesuffix("s"))


def test_what_stops_in_a_container_ends_before_the_engine_ends_it() -> None:
    assert uwsgi("worker-reload-mercy") < stop_grace_period("site-a")
    assert supervisor("api", "stopwaitsecs") < stop_grace_period("api")


def timeout_stop(unit: str) -> int:
    """On a host, under systemd."""
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", (PROJECT / "deploy/systemd" / unit).read_text(), re.M)
    return int(seconds)


def test_what_stops_on_a_host_ends_before_systemd_ends_it() -> None:
    assert uwsgi("worker-reload-mercy") < timeout_stop("site@.service")
    assert supervisor("api", "stopwaitsecs") < timeout_stop("api.service")


def ports(app: str) -> list[int]:
    """Of instances a and b, of the api those of its first workers, as nginx and the firewall know them."""
    slots = "" if app == "site" else "-0"
    return [instance.port(f"{each}{slots}") for each in instance.of(app)]


def test_an_instance_has_one_port_in_every_file() -> None:
    ini = (PROJECT / "deploy/uwsgi/site.ini").read_text()
    assert [int(port) for port in re.findall(r"port-[ab]=(\d+)", ini)] == ports("site")
    roles = PROJECT / "deploy/ansible/roles"
    assert f":{ports('api')[0]}" in (roles / "app/templates/environment").read_text()
    firewall = (roles / "base/templates/nftables.conf").read_text()
    assert f"{ports('site')[0]}-{ports('site')[1]} accept" in firewall
    assert f"{ports('api')[0]}-{{{{ {ports('api')[0] - 1} + 2 * cores | int }}}} accept" in firewall


def test_nginx_takes_no_larger_body_than_the_apps(settings: object) -> None:
    assert max(nginx("client_max_body_size")) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # type: ignore[attr-defined]
    assert min(nginx("client_max_body_size")) <= limits.MAX_BODY


def test_nginx_takes_no_larger_headers_than_uwsgi() -> None:
    assert 4 * max(nginx("large_client_header_buffers")) <= uwsgi("buffer-size")


def test_what_nginx_lets_wait_fits_uwsgis_queue_and_that_the_kernels() -> None:
    assert instance.LISTEN <= uwsgi("listen") <= int(Path("/proc/sys/net/core/somaxconn").read_text())
