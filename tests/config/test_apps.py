"""The registry of apps: a mistake in it stops every command with one line that says what it should be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.core.apps import APPS, INSTANCES, App, RegistryError, load, parse
from deploy.core.settings import PROJECT
from deploy.servers import SERVERS

SITE = {"server": "uwsgi", "instances": ["a", "b"], "port": 8001, "prefix": "/", "source": ["site"]}
JOBS = {"server": "command", "instances": ["a"], "source": ["jobs"], "command": ["sleep", "1"]}


def test_an_app_without_a_port() -> None:
    app = parse({"jobs": JOBS})["jobs"]
    assert [instance.name for instance in app.instances] == ["jobs-a"]
    assert app.instances[0].sockets(2) == []
    assert app.command == ("sleep", "1")


def test_ports_of_instances_do_not_overlap() -> None:
    app = parse({"site": SITE | {"instances": ["a", "c"]}})["site"]
    assert [instance.port() for instance in app.instances] == [8001, 8201]
    api = App("api", SERVERS["gunicorn"], ("a", "b"), port=9001)
    assert [instance.ports(3) for instance in api.instances] == [[9001, 9002, 9003], [9101, 9102, 9103]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": "apache"}, "server is 'apache': should be one of command, "),
        ({"server": None}, "server is None: should be one of command, "),
        ({"instances": []}, 'instances is []: should be different letters, for example ["a", "b"]'),
        ({"instances": ["a", "a"]}, "instances is ['a', 'a']: should be different letters"),
        ({"instances": ["ab"]}, "instances is ['ab']: should be different letters"),
        ({"instances": "ab"}, "instances is 'ab': should be different letters"),
        ({"instances": 2}, "instances is 2: should be different letters"),
        ({"port": "8001"}, "port is '8001': should be a number from 1024 to 30000"),
        ({"port": 80}, "port is 80: should be a number from 1024 to 30000"),
        ({"port": 0}, "port is 0: should be a number from 1024 to 30000"),
        ({"prefix": "/app"}, "prefix is '/app': should be a path that starts and ends with /"),
        ({"prefix": ""}, "prefix is '': should be a path that starts and ends with /"),
        ({"source": "site"}, "source is 'site': should be a list of paths"),
        ({"without": [1]}, "without is [1]: should be a list of settings"),
        ({"application": ["x"]}, "application is ['x']: should be an application"),
        ({"command": "sleep 1"}, "command is 'sleep 1': should be a list of words"),
        ({"manage": 1}, "manage is 1: should be the path of a manage.py"),
        ({"prepare": ["migrate"]}, "prepare is ['migrate']: should be a table of commands"),
        ({"seed": []}, "seed is []: should be a command"),
        ({"workers": 4}, "unknown key workers; the keys are server, instances, port"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(change: dict[str, Any], message: str) -> None:
    entry = {key: value for key, value in (SITE | change).items() if value is not None}
    with pytest.raises(RegistryError) as error:
        parse({"site": entry})
    assert str(error.value).startswith(f"site: {message}")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_missing_key_is_named(kind: str) -> None:
    whole = SITE | JOBS | {"server": kind, "application": "site:make()"}
    if kind != "command":
        del whole["command"]
    parse({"site": whole})
    for key in SERVERS[kind].required:
        with pytest.raises(RegistryError, match=f"^site: {key} is missing; a {kind} app needs it: .+"):
            parse({"site": {name: value for name, value in whole.items() if name != key}})


@pytest.mark.parametrize("name", ["Site", "my-site", "2nd", "nginx", "data"])
def test_a_name_that_files_could_not_have(name: str) -> None:
    with pytest.raises(RegistryError, match=f"^{name}: the name should be lower-case letters, digits and _"):
        parse({name: SITE})


def test_an_entry_that_is_no_table() -> None:
    with pytest.raises(RegistryError, match=r"^site: should be a table, \[site\]"):
        parse({"site": "uwsgi"})


def test_apps_do_not_share_ports_or_prefixes() -> None:
    with pytest.raises(RegistryError, match=r"^shop: port is 8101: site has 8001 to 8200"):
        parse({"site": SITE, "shop": SITE | {"port": 8101, "prefix": "/shop/"}})
    with pytest.raises(RegistryError, match=r"^shop: prefix is '/': should differ from that of site"):
        parse({"site": SITE, "shop": SITE | {"port": 8201}})


def test_the_file_is_named(tmp_path: Path) -> None:
    for text in ("[site\n", '[site]\nserver = "apache"\n'):
        (tmp_path / "apps.toml").write_text(text)
        with pytest.raises(RegistryError, match=rf"^{tmp_path}/apps.toml: "):
            load(tmp_path / "apps.toml")


def test_every_app_of_this_project_has_its_files() -> None:
    for app in APPS.values():
        assert [path for path in app.source if not (PROJECT / path).exists()] == []
        assert (PROJECT / "nginx" / app.name).is_dir() == app.server.listens


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('server = "', 'server = "x', "server is 'x"),
        ("instances = [", "instance = [", "unknown key instance; the keys are "),
        ("port = ", "port = -", "port is -"),
        ("[", "[[", ""),
    ],
)
def test_a_mistake_stops_every_command_with_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / ".env.example", tmp_path)
    registry = tmp_path / "deploy/apps.toml"
    lines = registry.read_text().splitlines(keepends=True)
    [*_, last] = [number for number, line in enumerate(lines) if line.startswith(old)]
    lines[last] = lines[last].replace(old, new, 1)
    registry.write_text("".join(lines))
    for command in (
        ["-m", "deploy", "status"],
        ["deploy/core/apps.py", "port", next(iter(INSTANCES))],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith(f"✗ {registry}: ")
        assert message in done.stderr
