"""What runs in a container is what runs on the machine itself: the same files, the same packages, the same commands."""

import json
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest

from deploy.instance import servers
from deploy.nginx import render
from tests.stacks import PROJECT, ComposeStack

SUPERVISOR = PROJECT / "deploy/supervisor"


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def of(stack: ComposeStack, service: str) -> Path:
    """A service's /srv/app."""
    return Path(f"/proc/{stack.container(service)['State']['Pid']}/root/srv/app")


def test_nginxs_files(stack: ComposeStack, tmp_path: Path) -> None:
    environment = dict(word.split("=", 1) for word in stack.container("nginx")["Config"]["Env"])
    run = Path("/srv/app/var/run")
    variables = environment | servers(run, stack.cores) | {"CORES": str(stack.cores)}
    variables["SERVER_NAMES"] = environment["ALLOWED_HOSTS"].replace(",", " ")
    render(PROJECT / "nginx", tmp_path / "nginx", variables)
    assert files(of(stack, "nginx") / "var/nginx") == files(tmp_path / "nginx")


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("site-a", "deploy/uwsgi/site.ini"),
        ("site-b", "deploy/uwsgi/site.ini"),
        ("api", "deploy/gunicorn/api.py"),
        ("api", "deploy/supervisor/supervisord.conf"),
        ("api", "deploy/supervisor/api.conf"),
        ("nginx", "deploy/nginx.py"),
    ],
)
def test_the_servers_files(stack: ComposeStack, service: str, file: str) -> None:
    assert (of(stack, service) / file).read_bytes() == (PROJECT / file).read_bytes()


@pytest.mark.parametrize("instance", ["site-a", "site-b", "api-a", "api-b"])
def test_the_commands(stack: ComposeStack, instance: str) -> None:
    """Those of the files that supervisord has on the machine itself, after what gives them their environment there."""
    [command] = re.findall(
        r"^command = .* -- \.venv/bin/(.*)$", (SUPERVISOR / f"{instance[:-2]}.conf").read_text(), re.M
    )
    process = Path(f"/proc/{stack.pids()[instance]}")
    words = process.joinpath("cmdline").read_text().strip("\0").split("\0")
    assert " ".join(words).endswith(f".venv/bin/{command}")
    assert str(process.joinpath("cwd").readlink()) in ("/srv/app", "/srv/app/django_site")


def test_supervisord_and_nginx_read_theirs(stack: ComposeStack) -> None:
    for service, file in (("api", "-c\0deploy/supervisor/supervisord.conf"), ("nginx", "-c nginx/nginx.conf")):
        assert file in Path(f"/proc/{stack.container(service)['State']['Pid']}/cmdline").read_text()


@pytest.mark.parametrize("service", ["site-a", "api"])
def test_the_packages(stack: ComposeStack, service: str) -> None:
    tell = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    there = json.loads(stack.run(service, ".venv/bin/python", "-c", tell))
    here = {found.name: found.version for found in distributions()}
    assert {"Django", "pyuwsgi", "gunicorn", "tornado", "supervisor"} <= there.keys()
    assert {name: here.get(name) for name in there} == there
