"""The ladders of limits: each rung must hold what the one below it may take, in every file that has one."""

import configparser
import re
import runpy

import pytest
import yaml

from deploy import instance
from deploy.env import PROJECT
from tornado_api import limits

NGINX = "\n".join(file.read_text() for file in (PROJECT / "nginx").rglob("*.conf"))


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


def test_what_a_worker_was_killed_over_is_not_sent_to_the_next(gunicorn: dict[str, int]) -> None:
    assert min(nginx("proxy_next_upstream_timeout")) < gunicorn["timeout"]


def test_only_what_could_not_connect_in_time_is_sent_to_the_next() -> None:
    connect, tries, answer = (
        nginx(f"proxy_{name}") for name in ("connect_timeout", "next_upstream_timeout", "read_timeout")
    )
    assert max(connect) < min(tries) < min(answer)
    assert max(tries) < max(answer)


def noticed() -> int:
    """Seconds until a host that is gone is."""
    text = (PROJECT / "deploy/ansible/roles/base/files/sysctl.conf").read_text()
    idle, interval, probes = (
        int(value) for value in re.findall(r"^net\.ipv4\.tcp_keepalive_\w+ = (\d+)$", text, re.MULTILINE)
    )
    return idle + interval * probes


def test_a_host_that_is_gone_is_noticed_while_its_requests_may_go_to_the_next() -> None:
    request, live = nginx("proxy_next_upstream_timeout")
    assert noticed() < request
    assert limits.LONGEST_WAIT + noticed() < live


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
    assert supervisor("api", "stopwaitsecs") < stop_grace_period("api")


def timeout_stop(unit: str) -> int:
    """On a host, under systemd."""
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", (PROJECT / "deploy/systemd" / unit).read_text(), re.M)
    return int(seconds)


def test_what_stops_on_a_host_ends_before_systemd_ends_it() -> None:
    assert supervisor("api", "stopwaitsecs") < timeout_stop("api.service")


def ports(app: str) -> list[int]:
    """Of instances a and b, or of their first workers, as nginx and the firewall know them."""
    return [instance.port(instance.members(each, 1)[0]) for each in instance.of(app)]


def test_an_instance_has_one_port_in_every_file() -> None:
    roles = PROJECT / "deploy/ansible/roles"
    assert f":{ports('api')[0]}" in (roles / "app/templates/environment").read_text()
    firewall = (roles / "base/templates/nftables.conf").read_text()
    assert f"{ports('api')[0]}-{{{{ {ports('api')[0] - 1} + 2 * cores | int }}}} accept" in firewall


def test_nginx_takes_no_larger_body_than_the_api() -> None:
    assert min(nginx("client_max_body_size")) <= limits.MAX_BODY
