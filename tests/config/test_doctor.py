"""The doctor on machines and stacks that this machine cannot provide. Functions replace them."""

import itertools
import json
import os
import time
from collections import namedtuple
from pathlib import Path

import pytest

from deploy.core import preflight
from deploy.core.apps import APPS, INSTANCES, App, Instance, django
from deploy.core.console import Failed
from deploy.core.settings import SECRETS
from deploy.doctor import files, findings, limits, machine, servers, stacks
from deploy.doctor.findings import Finding
from deploy.servers import SERVERS

Disk = namedtuple("Disk", "f_bavail f_frsize f_favail f_files")


class Stack(stacks.NativeStack):
    """A native stack in a directory of its own, which does not run."""

    private = ()
    is_running = False

    def __init__(self, var: Path) -> None:
        self.var = var


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_a_full_disk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for disk, unit in ((Disk(9, 1000, 90, 100), "--human-readable"), (Disk(10**9, 1000, 4, 100), "--inodes")):
        monkeypatch.setattr(os, "statvfs", lambda _, disk=disk: disk)
        found = next(iter(machine.disk(stack)))
        assert found.mark == "✗"
        assert unit in found.remedy
    # A file system that reports no inodes.
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(10**9, 1000, 0, 0))
    assert next(iter(machine.disk(stack))).mark == "✓"


@pytest.mark.parametrize(
    ("state", "systemd", "container", "mark"),
    [(0, True, False, "✓"), (5, True, False, "✗"), (5, True, True, "·"), (5, False, False, "·")],
)
def test_a_clock_without_a_time_server(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, tmp_path: Path, state: int, systemd: bool, container: bool, mark: str
) -> None:
    monkeypatch.setattr(machine, "clock_state", lambda: state)
    monkeypatch.setattr(machine, "in_container", lambda: container)
    monkeypatch.setattr(machine, "SYSTEMD", tmp_path if systemd else tmp_path / "none")
    [found] = machine.clock(stack)
    assert found.mark == mark
    assert ("set-ntp" in found.remedy) == (mark == "✗")


@pytest.mark.parametrize(("difference", "mark"), [(-60, "✗"), (-1, "✓"), (1, "✓"), (60, "✗")])
def test_a_data_host_with_another_clock(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, difference: float, mark: str
) -> None:
    urls = {"DATABASE_URL": "postgresql://site:a-password@db/site", "REDIS_URL": "redis://db:6379/0"}
    monkeypatch.setattr(Stack, "url", lambda _, name: urls[name])
    for name in ("database_time", "redis_time"):
        monkeypatch.setattr(servers, name, lambda _: time.time() + difference)
    found = list(servers.data(stack))
    assert [each.mark for each in found] == [mark, mark]
    assert ("set-ntp" in found[0].remedy) == (mark == "✗")


def test_no_python_and_no_nginx(monkeypatch: pytest.MonkeyPatch, stack: Stack, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "VENV", tmp_path)
    monkeypatch.setattr(preflight, "suitable", lambda python: False)
    monkeypatch.setattr(preflight, "BROTLI", tmp_path / "none")
    [python], [nginx] = machine.python(stack), machine.nginx(stack)
    assert (python.mark, python.what) == ("✗", "Python 3.11 to 3.13 is missing")
    assert "apt-get install python3.13" in python.remedy
    assert (nginx.mark, nginx.what) == ("✗", "nginx or its brotli module is missing")
    assert "apt-get install nginx" in nginx.remedy


def test_private_files_that_are_not_writable(monkeypatch: pytest.MonkeyPatch, stack: Stack, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr(files, "ENV_FILE", tmp_path / "none")
    [found] = files.ownership(stack)
    assert found.remedy == f"chmod u+rwX {tmp_path}"


@pytest.mark.parametrize(
    ("name", "secret", "fault"),
    [
        ("SECRET_KEY", "J8s-kWq0", "SECRET_KEY has 8 characters: should be at least 50"),
        ("SECRET_KEY", "abab" * 16, "SECRET_KEY has 2 different characters: should be at least 10"),
        ("SECRET_KEY", f"django-insecure-{SECRETS['SECRET_KEY']()}", "contains a word that is guessed first"),
        ("TOKEN_KEYS", f"{SECRETS['TOKEN_KEYS']()},second:q8Zk2", "TOKEN_KEYS has 5 characters: should be at least 32"),
        ("the password in REDIS_URL", "q8Zk2", "the password in REDIS_URL has 5 characters: should be at least 16"),
        *((name, make(), "") for name, make in SECRETS.items()),
    ],
    # Without the secrets, which differ in each process that pytest-xdist starts.
    ids=itertools.count(),
)
def test_a_secret_that_is_easy_to_guess(name: str, secret: str, fault: str) -> None:
    said = files.weakness(name, secret)
    assert fault in said
    assert bool(said) == bool(fault)
    assert secret not in said


@pytest.mark.parametrize("kind", SERVERS)
def test_limits_follow_the_server_kinds_of_the_stack(kind: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("one", SERVERS[kind], ("a", "b"))
    monkeypatch.setattr(Stack, "instances", list(app.instances))
    monkeypatch.setattr(Stack, "somaxconn", lambda _, service: 600)
    assert set(limits.needed_files(stack)) == {"nginx", *([kind] if kind in limits.OPEN_FILES else [])}
    found = list(limits.somaxconn(stack))
    assert found[0].what.startswith("net.core.somaxconn: 600, nginx needs ")
    assert [each.what.split()[2] for each in found] == ["nginx", *([kind] if kind in limits.LISTEN_QUEUES else [])]
    assert [each.mark for each in found[1:]] == (["✗"] if kind in limits.LISTEN_QUEUES else [])


FIRST, *_, LAST = INSTANCES


class Target:
    """Replaces Docker: a stack whose last instance is not ready, and whose first is out of rotation."""

    def why_not_ready(self, service: str) -> str:
        return f"{LAST} answers nothing" if service == LAST else ""

    def is_in_rotation(self, instance: Instance) -> bool:
        return instance.name != FIRST

    def container(self, service: str) -> dict[str, str]:
        return {"Id": service}

    def log(self, service: str) -> str:
        return f"the end of {service}'s log"

    def compose(self, *words: str) -> str:
        app = django()
        assert app
        assert words == ("exec", "-T", app.instances[0].name, "python", app.manage, "showmigrations", "--plan")
        return "[X]  accounts.0001_initial\n[ ]  accounts.0002_later\n"


def test_a_stack_in_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.targets.compose import target

    monkeypatch.setattr(target, "engine", lambda: ("Docker 28, compose 2", ""))
    monkeypatch.setattr(target, "is_running", lambda: True)
    monkeypatch.setattr(stacks, "output", lambda *command, timeout=None: "4096")
    compose = stacks.ComposeStack()
    monkeypatch.setattr(compose, "compose", Target())
    checks = (machine.engine, limits.somaxconn, servers.migrations, servers.services)
    found = {each.what: each for each in findings.look(checks, compose)}
    assert found["Docker 28, compose 2"].mark == "✓"
    assert found["net.core.somaxconn: 4096, nginx needs 511"].mark == "✓"
    assert found[f"{FIRST}: out of rotation, so nginx sends it nothing"].remedy == (
        f"make restart APP={INSTANCES[FIRST].app.name}"
    )
    assert found[f"{LAST}: {LAST} answers nothing"].remedy.splitlines()[-1] == f"the end of {LAST}'s log"
    for service in ("nginx", *list(INSTANCES)[1:-1]):
        assert found[f"{service}: ready"].mark == "✓"
    if django():
        assert found["migrations not applied: accounts.0002_later"].remedy == "make up"


def test_the_checks_go_on_after_one_that_cannot_be_made(stack: Stack) -> None:
    def fails(stack: Stack) -> findings.Findings:
        yield findings.right("so far")
        raise PermissionError(13, "Permission denied")

    def lacks(stack: Stack) -> findings.Findings:
        raise ImportError

    def works(stack: Stack) -> findings.Findings:
        yield findings.right("more")

    found = list(findings.look((fails, lacks, works), stack))
    assert [each.mark for each in found] == ["✓", "·", "·", "✓"]
    assert found[1].what == "fails: [Errno 13] Permission denied"


def test_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Finding("✓", "one"), Finding("✗", "two", "fix\nit"), Finding("·", "three")]
    assert findings.show(found) == 1
    assert capsys.readouterr().out == (
        "  ✓ one\n  ✗ two\n    fix\n    it\n  · three\n1 passed, 1 failed, 1 not checked\n"
    )


def test_a_host_with_nginx_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no Python packages and no instances."""
    from deploy.doctor import host
    from deploy.targets.hosts import target

    checks = (limits.somaxconn, files.secrets, servers.migrations, servers.services)
    monkeypatch.setattr(host, "HOST", checks)
    monkeypatch.setattr(host.HostStack, "var", tmp_path)
    monkeypatch.setattr(target.HostTarget, "run", tmp_path)
    monkeypatch.setattr(target, "output", lambda *command: "the end of its log")
    found = [Finding(*each) for each in json.loads(host.examine(["edge"]))]
    assert [each.what.partition(":")[0] for each in found] == ["net.core.somaxconn", "nginx"]
    assert found[1].remedy.splitlines()[-1] == "the end of its log"


def test_a_host_has_the_instances_of_its_groups() -> None:
    from deploy.doctor.host import HostStack

    for app in APPS.values():
        assert HostStack([app.name]).services == [instance.name for instance in app.instances]
    assert HostStack(["edge", "data"]).services == ["nginx"]


class OneHost:
    """An inventory of one host, with its answer."""

    hosts = ("web-1",)

    def __init__(self, answer: str | Failed) -> None:
        self.answer = answer

    def groups_of(self, host: str) -> list[str]:
        return ["edge", "data"]

    def ask(self, host: str, command: str) -> str:
        assert command.endswith("-m deploy.doctor.host")
        if isinstance(self.answer, Failed):
            raise self.answer
        return self.answer


def test_each_host_of_a_fleet_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    from deploy.doctor.fleet import examine_fleet

    def examine(answer: str | Failed) -> str:
        try:
            examine_fleet(OneHost(answer))  # type: ignore[arg-type]
        except Failed as failed:
            print(failed)
        return capsys.readouterr().out

    healthy = '[["✓", "nginx: ready", ""], ["·", "clock", ""]]'
    assert examine(healthy) == "web-1: edge data\n  ✓ nginx: ready\n  · clock\n1 passed, 0 failed, 1 not checked\n"
    assert examine('[["✗", "nginx: it does not answer", "make deploy\\nits log"]]') == (
        "web-1: edge data\n  ✗ nginx: it does not answer\n    make deploy\n    its log\n"
        "0 passed, 1 failed\nA check failed on web-1\n"
    )
    for answer in (Failed("web-1: ssh: connect to host web-1 port 22: Connection refused"), "no JSON"):
        assert "✗ no answer: " in examine(answer)
