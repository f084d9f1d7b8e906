"""An app, an instance and a command are removable parts: new files and one registry entry add each, on any target.

The folders here have the files, which also serve as examples. Each test adds a part to a copy of the project while its
stack runs, then rolls, stops and removes it. Clients of the other apps notice nothing.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.core.probe import UNCACHED
from tests.chaos.table import Record
from tests.parts.load import Requests
from tests.stack.checks import check_error, is_from
from tests.stacks import Stack, copied, edited, running

HERE = Path(__file__).parent
REGISTRY = "deploy/apps.toml"
PATHS = ["/accounts/login/", "/api/"]
# Requests sent twice because nginx closed an idle connection: at most one of each client in each of the two reloads.
MOST_RESENT = 8


@pytest.fixture(scope="module")
def stack(stack_class: type[Stack]) -> Iterator[Stack]:
    with copied() as project, running(stack_class, project=project) as stack:
        yield stack


def files_of(part: str) -> dict[str, Path]:
    """Return the files of a part, by their paths in the project, without its registry entry."""
    files = {str(file.relative_to(HERE / part)): file for file in (HERE / part).rglob("*") if file.is_file()}
    return {path: file for path, file in files.items() if path != "apps.toml" and "__pycache__" not in path}


def lines_of(part: str) -> str:
    """Return how many lines and files a part takes."""
    texts = [file.read_text() for file in (*files_of(part).values(), HERE / part / "apps.toml")]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return f"{len(lines)} lines in {len(texts) - 1} files and the registry"


def add(stack: Stack, part: str) -> None:
    for path, file in files_of(part).items():
        (stack.project / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, stack.project / path)
    with (stack.project / REGISTRY).open("a") as registry:
        registry.write((HERE / part / "apps.toml").read_text())


def remove(stack: Stack, part: str) -> None:
    for path in files_of(part):
        (stack.project / path).unlink()
    registry = stack.project / REGISTRY
    registry.write_text(registry.read_text().removesuffix((HERE / part / "apps.toml").read_text()))


def deploy(stack: Stack) -> None:
    done = stack.deploy()
    assert done.returncode == 0, done.stdout


def is_ready_in_status(stack: Stack, instance: str) -> bool:
    done = stack.make("status")
    assert done.returncode == 0, done.stdout
    return any(line.startswith(f"{instance} ") and " ready" in line for line in done.stdout.splitlines())


def roll(stack: Stack, app: str) -> None:
    """Restart an app, and check that exactly its instances were restarted."""
    before = stack.pids()
    done = stack.make("restart", APP=app)
    assert done.returncode == 0, done.stdout
    after = stack.pids()
    assert [name for name in before if before[name] != after[name]] == stack.instances_of(app)


def stop_cleanly(stack: Stack, instance: str) -> None:
    """Stop an instance, and check that its processes ended by themselves."""
    master = psutil.Process(stack.pids()[instance])
    family = [master, *master.children(recursive=True)]
    began = time.monotonic()
    stack.stop(instance)
    assert time.monotonic() - began < 30, "it was killed"
    assert stack.exit_status(instance) == 0
    assert not [process for process in family if process.is_running()]


def check_unnoticed(load: Requests) -> None:
    assert (load.sent > 100, dict(load.failed)) == (True, {})
    assert load.resent <= MOST_RESENT


def test_a_second_tornado_app(stack: Stack, record: Record) -> None:
    with Requests(stack, PATHS) as others:
        add(stack, "echo")
        deploy(stack)
        names = stack.instances_of("echo")
        for name in names:
            assert is_ready_in_status(stack, name)
        with stack.client() as client:
            response = client.post("/echo/text", content="hello")
            assert (response.status_code, response.text) == (200, "hello")
            assert is_from(response, stack.apps["echo"])
            check_error(client.get("/echo/nothing-here"), 404, "json")
        with Requests(stack, ["/echo/"]) as own:
            roll(stack, "echo")
        for name in names:
            stop_cleanly(stack, name)
        remove(stack, "echo")
        deploy(stack)
    record(f"a second Tornado app: {lines_of('echo')}", own.sent, own.failed.total(), own.resent, None, "its roll")
    record("the other apps meanwhile", others.sent, others.failed.total(), others.resent, None, "added, removed")
    assert (own.sent > 100, dict(own.failed), own.resent) == (True, {}, 0)
    check_unnoticed(others)
    assert not {*names} & stack.pids().keys()


@pytest.mark.native_if_short
def test_a_third_instance(stack: Stack, record: Record) -> None:
    """Only an edit of the registry."""
    with Requests(stack, PATHS) as load:
        with edited(stack, REGISTRY, 'instances = ["a", "b"]', 'instances = ["a", "b", "c"]'):
            deploy(stack)
            assert is_ready_in_status(stack, "site-c")
            with stack.client(headers=UNCACHED) as client:
                served = {client.get(PATHS[0]).headers["X-Upstream"].rpartition("/")[2] for _ in range(60)}
            assert served == {"site-a.sock", "site-b.sock", "site-c.sock"}
            roll(stack, "site")
            master = psutil.Process(stack.pids()["site-c"])
            family = [master, *master.children(recursive=True)]
        # Removed while it is in rotation.
        deploy(stack)
    record("a third instance: 1 line", load.sent, load.failed.total(), load.resent, None, "added, rolled, removed")
    check_unnoticed(load)
    assert not [process for process in family if process.is_running()]
    assert not is_ready_in_status(stack, "site-c")
    assert list((stack.seen / "run").glob("site-c*")) == []


def wait_until_all_work(stack: Stack) -> None:
    """Return when each restarted worker has done a job: before it has started, SIGTERM would end it at once."""
    deadline = time.monotonic() + 60
    while not all(log and log[-1] == "did a job" for log in stack.read_logs("worker")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.native_if_short
def test_a_command(stack: Stack, record: Record) -> None:
    with Requests(stack, PATHS) as load:
        add(stack, "worker")
        deploy(stack)
        names = stack.instances_of("worker")
        for name in names:
            assert is_ready_in_status(stack, name)
        roll(stack, "worker")
        wait_until_all_work(stack)
        for name in names:
            stop_cleanly(stack, name)
        assert {log[-1] for log in stack.read_logs("worker")} == {"finished"}
        remove(stack, "worker")
        deploy(stack)
    record(f"a command: {lines_of('worker')}", load.sent, load.failed.total(), load.resent, None, "the other apps")
    check_unnoticed(load)
    assert not {*names} & stack.pids().keys()
