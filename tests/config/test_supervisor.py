"""The files of supervisord's programs, as supervisord reads them."""

import shlex
from pathlib import Path

import pytest
from supervisor.options import ProcessConfig, ServerOptions

from deploy.core import supervisor
from deploy.core.apps import INSTANCES, App
from deploy.core.settings import PROJECT
from deploy.servers import SERVERS


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for run-time files."""
    for directory in ("run", "log", "tmp", "supervisor"):
        (tmp_path / directory).mkdir()
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("SUPERVISOR_LOG_SIZE", "10MB")
    return tmp_path


def programs() -> dict[str, ProcessConfig]:
    """Return the programs of supervisord.conf, by name. Each is a group of its own with the same name."""
    options = ServerOptions()
    options.realize(["-c", str(PROJECT / "deploy/supervisor/supervisord.conf")])
    found = {}
    for group in options.process_group_configs:
        [process] = group.process_configs
        assert process.name == group.name
        found[process.name] = process
    return found


@pytest.mark.parametrize("kind", SERVERS)
def test_supervisord_accepts_an_instance_of_each_kind(kind: str, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("one", SERVERS[kind], ("a", "b"), application="one:make()", command=("true",))
    instances = {instance.name: instance for instance in app.instances}
    monkeypatch.setattr(supervisor, "INSTANCES", instances)
    supervisor.write_programs(var, ["nginx", *instances], Path("/srv/app/current"))
    found = programs()
    assert found.keys() == {"nginx", "one-a", "one-b"}
    for name, process in found.items():
        assert process.autorestart
        assert process.stdout_logfile == str(var / f"log/{name}.log")
        assert process.stdout_logfile_maxbytes > 0, "a log that grows without bound"
        assert process.directory == "/srv/app/current"
        if name in instances:
            assert (process.environment["APP"], process.environment["INSTANCE"]) == ("one", name)
            # supervisord splits the command so.
            python = "/srv/app/current/.venv/bin/python"
            words = [python, "-m", "deploy.core.settings", f"{var}/environment"]
            assert shlex.split(process.command)[:4] == words


def test_the_file_of_a_removed_instance_goes(var: Path) -> None:
    instance = next(iter(INSTANCES.values()))
    supervisor.write_programs(var, ["nginx", instance.name])
    supervisor.write_programs(var, ["nginx"])
    assert [file.name for file in (var / "supervisor/programs").iterdir()] == ["nginx.conf"]
