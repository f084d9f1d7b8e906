"""nginx's files, filled in: nginx accepts them for any number of instances and hosts."""

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.core import nginx
from deploy.core.apps import APPS, App
from deploy.core.console import Failed
from deploy.core.settings import PROJECT, values
from deploy.doctor.limits import LISTEN_QUEUES
from deploy.servers import SERVERS
from tests.faults import self_signed
from tests.servers import program

pytestmark = pytest.mark.slow

# This machine alone; and nginx on a host of its own, with instances on it and on others.
ALONE: dict[str, str] = {}
HOSTS = {f"{name.upper()}_HOSTS": "local 10.0.0.2:2 10.0.0.3:4" for name in APPS}
BUCKET = {"S3_URL": "https://key:secret@s3.example.org/uploads"}
MANY = HOSTS | {
    "ACME_EDGES": "10.0.0.5 10.0.0.6",
    "MEDIA_STORE": "http://10.0.0.4:8003",
    "USE_I18N": "on",
    "LANGUAGES": "en,pt,pt-br",
}


def render(var: Path, variables: Mapping[str, str] = {}, workers: int = 2) -> Path:
    """Fill in nginx's files for a directory of run-time files. Return that directory."""
    for directory in ("run", "log", "tmp"):
        (var / directory).mkdir(exist_ok=True)
    known = values() | {"DEBUG": "off", "LISTEN": "127.0.0.1:8000", "LISTEN_PLAIN": "", "VAR_DIR": str(var)}
    nginx.render(PROJECT / "nginx", var / "nginx", var / "run", workers, known | dict(variables))
    return var


def accepts(var: Path) -> subprocess.CompletedProcess[str]:
    command = [program("nginx", "nginx libnginx-mod-http-brotli-static"), "-t", "-p", str(var)]
    return subprocess.run(
        [*command, "-c", "nginx/nginx.conf", "-e", "stderr"], capture_output=True, text=True, check=False
    )


@pytest.fixture(params=["off", "on"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    if request.param == "off":
        return {"TLS": "off"}
    return self_signed(tmp_path) | {"TLS": "on", "LISTEN_PLAIN": "127.0.0.1:8080"}


@pytest.mark.parametrize("hosts", [ALONE, MANY, BUCKET], ids=["one", "many", "bucket"])
def test_nginx_and_gixy_accept_the_files(hosts: dict[str, str], tls: dict[str, str], tmp_path: Path) -> None:
    render(tmp_path, hosts | tls)
    done = accepts(tmp_path)
    assert done.returncode == 0, done.stderr
    # worker_connections counts the connections to upstreams too, so twice as many files are not needed. A hard limit of
    # 20,000 is common.
    gixy: list[str | Path] = [Path(sys.executable).with_name("gixy"), "--skips=worker_rlimit_nofile_vs_connections"]
    done = subprocess.run([*gixy, tmp_path / "nginx/nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("letters", ["a", "abc", "abcdefgh"])
@pytest.mark.parametrize("hosts", ["local", "10.0.0.2", "local 10.0.0.2:4 10.0.0.3:8"])
@pytest.mark.parametrize("app", [app for app in APPS.values() if app.server.listens], ids=lambda app: app.name)
def test_upstreams_of_any_number_of_instances_and_hosts(app: App, hosts: str, letters: str, workers: int) -> None:
    more = App(app.name, app.server, tuple(letters), port=app.port)
    lines = nginx.upstream_servers(more, hosts, Path("/run"), workers).splitlines()
    servers = [line.split()[1] for line in lines if "backup" not in line]
    assert len(set(servers)) == len(servers)
    for host in hosts.split():
        address, _, own = host.partition(":")
        sockets = [name for instance in more.instances for name in instance.sockets(int(own or workers))]
        mine = [server for server in servers if server.startswith("unix:" if address == "local" else f"{address}:")]
        assert len(mine) == len(sockets)


def test_nginx_accepts_many_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, app in APPS.items():
        more = App(name, app.server, tuple("abcde"), port=app.port, prefix=app.prefix)
        monkeypatch.setitem(APPS, name, more)
    done = accepts(render(tmp_path, HOSTS, workers=64))
    assert done.returncode == 0, done.stderr


def test_the_requests_of_an_instance_fit_its_listen_queue() -> None:
    for kind, queue in LISTEN_QUEUES.items():
        for workers in (1, 2, 16, 64):
            assert kind not in SERVERS or SERVERS[kind].max_conns(workers) <= queue


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.core.nginx", "start"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "ALLOWED_HOSTS": "localhost"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"[A-Z_]+ is not set, and nginx's configuration needs it\n", done.stderr)


@pytest.mark.parametrize("setting", ["TRUSTED_PROXIES", "ADMIN_NETWORKS"])
def test_networks(setting: str, tmp_path: Path) -> None:
    done = accepts(render(tmp_path, {setting: "10.0.0.1/8, 192.0.2.7 ,2001:db8::/32,"}))
    assert done.returncode == 0, done.stderr
    assert "10.0.0.0/8" in "".join(file.read_text() for file in (tmp_path / "nginx").rglob("*.conf"))
    for malformed in ("10.0.0.0/40", "office", "10.0.0.1; evil"):
        with pytest.raises(Failed, match=f"{setting}: .* should be networks"):
            render(tmp_path, {setting: malformed})


def listens(var: Path) -> list[str]:
    files = "\n".join(file.read_text() for file in (var / "nginx").glob("server*.conf"))
    return sorted(set(re.findall(r"^ *listen ([^ ;]+)", files, re.M)))


@pytest.mark.parametrize(
    ("address", "other"),
    [("127.0.0.1", "[::1]"), ("0.0.0.0", "[::]"), ("127.0.0.2", ""), ("[::1]", "")],  # noqa: S104
)
@pytest.mark.parametrize("kernel", ["with IPv6", "without IPv6"])
def test_ipv6(
    address: str, other: str, kernel: str, tls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "without IPv6":
        monkeypatch.setattr(socket, "socket", without_ipv6)
        other = ""
    plain = {"LISTEN_PLAIN": f"{address}:8080"} if tls["TLS"] == "on" else {}
    var = render(tmp_path, tls | {"LISTEN": f"{address}:8000"} | plain)
    ports = ("8000", "8080") if plain else ("8000",)
    assert {each for each in listens(var) if "$" not in each} == {
        f"{each}:{port}" for each in (address, other) if each for port in ports
    }
    done = accepts(var)
    assert done.returncode == 0, done.stderr


def without_ipv6(family: int = socket.AF_INET, *_: Any) -> socket.socket:
    raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")


@pytest.mark.parametrize("limit", ["6", "20"])
def test_nginx_takes_requests_up_to_the_upload_limit(limit: str, tmp_path: Path) -> None:
    files = render(tmp_path, {"UPLOAD_LIMIT_MB": limit}).rglob("nginx/**/*.conf")
    found = re.findall(r"^\s*client_max_body_size (\w+);", "\n".join(file.read_text() for file in files), re.M)
    assert f"{limit}m" in found
    # An app may set a smaller limit.
    assert all(size in (f"{limit}m", "64k") for size in found), found
