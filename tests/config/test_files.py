"""Each server accepts its own configuration, and the files say what the design says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions, make_namespec

from deploy import supervisord
from deploy.env import PROJECT, SECRETS
from deploy.instance import servers
from deploy.native import settings
from deploy.native.stack import PARTS
from deploy.nginx import render
from tests.servers import program, self_signed

# One machine, and nginx on a host of its own.
ELSEWHERE = {
    "SITE_HOSTS": "10.0.0.2:2 10.0.0.3:2",
    "API_HOSTS": "local 10.0.0.3:4",
    "MEDIA_STORE": "http://10.0.0.4:8003",
}


@pytest.fixture(params=["off", "on"])
def tls(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[{}, ELSEWHERE], ids=["one", "many"])
def nginx_prefix(request: pytest.FixtureRequest, tls: str, tmp_path: Path) -> Path:
    variables = settings.read() | {"TLS": tls, "VAR_DIR": str(tmp_path)}
    if tls == "on":
        variables |= self_signed(tmp_path) | {"LISTEN_PLAIN": "127.0.0.1:8080"}
    for directory in ("run", "log", "tmp", "supervisor"):
        (tmp_path / directory).mkdir()
    render(PROJECT / "nginx", tmp_path / "nginx", variables | servers(tmp_path / "run", 2, request.param))
    return tmp_path


def test_nginx_accepts_its_files(nginx_prefix: Path) -> None:
    nginx = program("nginx", "nginx libnginx-mod-http-brotli-static")
    command = [nginx, "-t", "-p", str(nginx_prefix), "-c", "nginx/nginx.conf", "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gixy_finds_nothing_in_nginxs_files(nginx_prefix: Path) -> None:
    gixy = Path(sys.executable).with_name("gixy")
    done = subprocess.run([gixy, nginx_prefix / "nginx/nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_headers_are_set_in_one_place() -> None:
    files = {
        file.name
        for file in (PROJECT / "nginx").rglob("*.conf")
        if re.search(r"^\s*add_header ", file.read_text(), re.M)
    }
    assert files == {"headers.conf"}


def test_every_server_of_the_world_sends_the_headers() -> None:
    for name in ("server.conf", "wrong-host.conf"):
        assert "include snippets/headers.conf;" in (PROJECT / "nginx/snippets" / name).read_text()


def test_what_a_deployment_must_fill_in_is_said_when_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.nginx", "start"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "ALLOWED_HOSTS": "localhost"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"[A-Z_]+ is not set, and nginx needs it\n", done.stderr)


def test_supervisord_accepts_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in ("run", "log", "tmp", "supervisor"):
        (tmp_path / directory).mkdir()
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("SUPERVISOR_PROGRAMS", "nginx.conf site.conf api.conf")
    monkeypatch.setenv("SUPERVISOR_LOG_SIZE", "10MB")
    options = ServerOptions()
    options.realize(["-c", str(PROJECT / "deploy/supervisor/supervisord.conf")])
    processes = {
        make_namespec(group.name, process.name): process
        for group in options.process_group_configs
        for process in group.process_configs
    }
    assert processes.keys() == {supervisord.program(part) for part in PARTS}
    for name, process in processes.items():
        assert process.autorestart, name
        assert process.environment.get("INSTANCE", "") == (name[-1] if "nginx" not in name else "")
        assert process.stdout_logfile_maxbytes > 0, "a log that grows without bound"


def test_gunicorn_accepts_its_file() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("gunicorn"), "--config", "deploy/gunicorn/api.py", "--check-config"],
        cwd=PROJECT,
        env=os.environ | {"INSTANCE": "a", "API_BIND": "unix:/nowhere/{instance}-{slot}.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_each_setting_is_documented_and_no_secret_has_a_value() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            assert before, f"{name} has no comment above it"
            assert name not in SECRETS or value == ""


def test_nothing_that_deploys_knows_what_a_poll_is() -> None:
    files = [PROJECT / "Makefile", *(PROJECT / "deploy").rglob("*"), *(PROJECT / "nginx").rglob("*")]
    knowing = [
        file
        for file in files
        if file.is_file() and file.suffix != ".pyc" and re.search(r"question|\bvote|(?<!long-)poll", file.read_text())
    ]
    assert knowing == []
