"""Containers and this machine run the same files, packages and commands."""

import json
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from dotenv import dotenv_values

from deploy.core import nginx
from deploy.core.apps import INSTANCES
from tests.stacks import PROJECT, ComposeStack


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def directory(stack: ComposeStack, service: str) -> Path:
    """Return a service's /srv/app."""
    return Path(f"/proc/{stack.container(service)['State']['Pid']}/root/srv/app")


def test_files_of_nginx(stack: ComposeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The container's name server, which is the engine's.
    resolvers = nginx.resolvers(directory(stack, "nginx").parents[1] / "etc/resolv.conf")
    monkeypatch.setattr(nginx, "resolvers", lambda: resolvers)
    environment = dict(word.split("=", 1) for word in stack.container("nginx")["Config"]["Env"])
    settings = dotenv_values(directory(stack, "nginx") / "settings/nginx.env")
    variables = {name: value or "" for name, value in (settings | environment).items()}
    nginx.render(PROJECT / "nginx", tmp_path / "nginx", Path("/srv/app/var/run"), stack.cores, variables)
    assert files(directory(stack, "nginx") / "var/nginx") == files(tmp_path / "nginx")


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("site-a", "deploy/uwsgi/site.ini"),
        ("site-b", "deploy/uwsgi/site.ini"),
        ("api-a", "deploy/gunicorn/config.py"),
        ("api-b", "deploy/supervisor/supervisord.conf"),
        ("api-b", "deploy/supervisor/gunicorn.conf"),
        ("nginx", "deploy/core/nginx.py"),
    ],
)
def test_files_of_the_servers(stack: ComposeStack, service: str, file: str) -> None:
    assert (directory(stack, service) / file).read_bytes() == (PROJECT / file).read_bytes()


# A plain command is that of deploy/apps.toml on every target.
@pytest.mark.parametrize("name", [name for name, instance in INSTANCES.items() if instance.server.listens])
def test_commands(stack: ComposeStack, name: str) -> None:
    """The command of supervisord's file, after the part that reads the settings."""
    instance = INSTANCES[name]
    file = PROJECT / f"deploy/supervisor/{instance.server.kind}.conf"
    [command] = re.findall(r"^command = .*/environment \.venv/bin/(.*)$", file.read_text(), re.M)
    process = Path(f"/proc/{stack.pids()[name]}")
    words = process.joinpath("cmdline").read_text().strip("\0").split("\0")
    assert " ".join(words).endswith(f".venv/bin/{command.replace('${APP}', instance.app.name)}")
    assert str(process.joinpath("cwd").readlink()) in ("/srv/app", "/srv/app/django_site")


def test_configuration_of_supervisord_and_nginx(stack: ComposeStack) -> None:
    for service, words in (
        ("api-a", "-c /srv/app/deploy/supervisor/supervisord.conf"),
        ("nginx", "-c nginx/nginx.conf"),
    ):
        command = Path(f"/proc/{stack.container(service)['State']['Pid']}/cmdline").read_text().replace("\0", " ")
        assert words in command


@pytest.mark.parametrize("service", ["site-a", "api-a"])
def test_packages(stack: ComposeStack, service: str) -> None:
    tell = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    there = json.loads(stack.run(service, ".venv/bin/python", "-c", tell))
    here = {found.name: found.version for found in distributions()}
    assert {"Django", "pyuwsgi", "gunicorn", "tornado", "supervisor"} <= there.keys()
    assert {name: here.get(name) for name in there} == there
