"""What `make doctor` says of machines and hosts that cannot be had here: those that stand in for them."""

import json
import os
import time
from collections import namedtuple
from pathlib import Path

import pytest

from deploy import doctor
from deploy.docker import stack as containers
from deploy.native import preflight
from deploy.terminal import Failed
from deploy.vm import __main__ as vm
from deploy.vm import host
from deploy.vm.fleet import Fleet

Disk = namedtuple("Disk", "f_bavail f_frsize f_favail f_files")


class Place(doctor.Native):
    # Not what the tests themselves have written.
    private = ()

    def __init__(self, var: Path) -> None:
        self.var = var


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for disk, what in ((Disk(9, 1000, 90, 100), "--human-readable"), (Disk(10**9, 1000, 4, 100), "--inodes")):
        monkeypatch.setattr(os, "statvfs", lambda _, disk=disk: disk)
        found = next(iter(doctor.disk(Place(tmp_path))))
        assert found.mark == "✗"
        assert what in found.remedy
    # A file system that does not count its inodes.
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(10**9, 1000, 0, 0))
    assert next(iter(doctor.disk(Place(tmp_path)))).mark == "✓"


@pytest.mark.parametrize(
    ("state", "systemd", "container", "mark"),
    [(0, True, False, "✓"), (5, True, False, "✗"), (5, True, True, "·"), (5, False, False, "·")],
)
def test_a_clock_that_nobody_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: int, systemd: bool, container: bool, mark: str
) -> None:
    monkeypatch.setattr(doctor, "clock_state", lambda: state)
    monkeypatch.setattr(doctor, "container", lambda: container)
    monkeypatch.setattr(doctor, "SYSTEMD", tmp_path if systemd else tmp_path / "none")
    [found] = doctor.clock(Place(tmp_path))
    assert found.mark == mark
    assert ("set-ntp" in found.remedy) == (mark == "✗")


@pytest.mark.parametrize(("off", "mark"), [(-60, "✗"), (-1, "✓"), (1, "✓"), (60, "✗")])
def test_a_data_host_whose_clock_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, off: float, mark: str
) -> None:
    urls = {"DATABASE_URL": "postgresql://site:a-password@db/site", "REDIS_URL": "redis://db:6379/0"}
    monkeypatch.setattr(Place, "url", lambda _, name: urls[name])
    for name in ("database_time", "redis_time"):
        monkeypatch.setattr(doctor, name, lambda _: time.time() + off)
    found = list(doctor.data(Place(tmp_path)))
    assert [each.mark for each in found] == [mark, mark]
    assert ("set-ntp" in found[0].remedy) == (mark == "✗")


def test_no_python_and_no_nginx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "VENV", tmp_path)
    monkeypatch.setattr(preflight, "suitable", lambda python: False)
    monkeypatch.setattr(preflight, "BROTLI", tmp_path / "none")
    found = {each.what: each.remedy for each in Place(tmp_path).machine() if each.mark == "✗"}
    assert "apt-get install python3.13" in found["no Python from 3.11 to 3.13"]
    assert "apt-get install nginx" in found["nginx or its brotli module is missing"]


def test_private_files_that_may_not_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    # The project may have one.
    monkeypatch.setattr(doctor, "ENV_FILE", tmp_path / "none")
    [found] = [each for each in doctor.permissions(Place(tmp_path)) if each.mark == "✗"]
    assert found.remedy == f"chmod u+rwX {tmp_path}"


class Engine:
    """Docker's, with a stack whose site-b does not answer."""

    def running(self, part: str) -> bool:
        return True

    def why_not_ready(self, part: str) -> str:
        return "site-b answers nothing" if part == "site-b" else ""

    def is_in(self, part: str) -> bool:
        return True

    def container(self, part: str) -> dict[str, str]:
        return {"Id": part}

    def compose(self, *words: str) -> str:
        return "[X]  accounts.0001_initial\n[ ]  accounts.0002_later\n"


def test_a_stack_in_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "engine", lambda: ("Docker 28, compose 2", ""))
    monkeypatch.setattr(containers, "output", lambda *command, timeout=None: "512")
    monkeypatch.setattr(containers, "tail", lambda container: f"the end of {container['Id']}'s log")
    checks = (doctor.machine, doctor.open_files, doctor.somaxconn, doctor.left_behind, doctor.migrations)
    monkeypatch.setattr(doctor, "CHECKS", (*checks, doctor.instances))
    place = doctor.Containers()
    monkeypatch.setattr(place, "stack", Engine())
    found = list(doctor.look(place))
    assert [each.what for each in found if each.mark == "✓"] == [
        "Docker 28, compose 2",
        "net.core.somaxconn: 512, nginx listens with 511",
        *(f"{part}: ready" for part in ("nginx", "site-a", "api-a", "api-b")),
    ]
    assert [each.what for each in found if each.mark != "✓"] == [
        "net.core.somaxconn: 512, site listens with 1024: uWSGI refuses to start",
        "migrations not applied: accounts.0002_later",
        "site-b: site-b answers nothing",
    ]
    assert found[-3].remedy.splitlines()[-1] == "the end of site-b's log"


def test_a_check_that_cannot_be_made_is_no_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(place: doctor.Native) -> doctor.Findings:
        yield doctor.right("so far")
        raise PermissionError(13, "Permission denied")

    def lacks(place: doctor.Native) -> doctor.Findings:
        raise ImportError

    monkeypatch.setattr(doctor, "CHECKS", (fails, lacks, lambda place: iter([doctor.right("more")])))
    assert [each.mark for each in doctor.look(Place(tmp_path))] == ["✓", "·", "·", "✓"]


def test_a_host_with_nginx_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no Python packages, and is not asked about the apps."""
    monkeypatch.setattr(doctor, "CHECKS", (doctor.somaxconn, doctor.secrets, doctor.migrations, doctor.instances))
    monkeypatch.setattr(host.OnHost, "var", tmp_path)
    monkeypatch.setenv("CORES", "1")
    monkeypatch.setattr(host, "output", lambda *command: "the end of its log")
    found = [doctor.Finding(*each) for each in json.loads(host.examine("edge"))]
    assert [each.what.partition(":")[0] for each in found] == ["net.core.somaxconn", "nginx"]
    assert found[1].remedy.splitlines()[-1] == "the end of its log"


class OneHost(Fleet):
    def __init__(self, answer: str | Failed) -> None:
        self.answer = answer
        self.hosts = ["web-1"]
        self.groups = {"edge": ["web-1"], "site": ["web-1"], "api": [], "data": []}

    def ask(self, host: str, command: str) -> str:
        assert command.endswith("deploy.vm.host doctor edge site")
        if isinstance(self.answer, Failed):
            raise self.answer
        return self.answer


def test_hosts_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    vm.examine(OneHost('[["✓", "nginx: ready", ""], ["·", "clock", ""]]'))
    assert (
        capsys.readouterr().out == "web-1: edge site\n  ✓ nginx: ready\n  · clock\n1 right, 0 wrong, 1 not looked at\n"
    )
    with pytest.raises(Failed, match="something is wrong on web-1"):
        vm.examine(OneHost('[["✗", "site-a: site-a answers nothing", "make deploy\\nits log"]]'))
    assert (
        "  ✗ site-a: site-a answers nothing\n    make deploy\n    its log\n0 right, 1 wrong\n"
        in capsys.readouterr().out
    )
    for answer in (Failed("web-1: ssh: connect to host web-1 port 22: Connection refused"), "no JSON"):
        with pytest.raises(Failed, match="something is wrong on web-1"):
            vm.examine(OneHost(answer))
        assert "✗ it cannot be asked: " in capsys.readouterr().out
