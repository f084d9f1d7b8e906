"""A service hangs, or nginx was killed: `make up` names it, says why, and restarts it or stops with its log."""

import re
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from deploy.core.apps import APPS, App
from tests.stack.checks import each_app
from tests.stacks import NativeStack, edited

# Seconds. An instance that hangs is killed 30 s after its stop began; the rest is for a busy machine.
LONGEST = 100
# For each server kind: a file, and an edit of it with which no instance becomes ready.
HANG = {
    "uwsgi": ("deploy/uwsgi/{app}.ini", "\nmodule = ", "\nexec-pre-app = sleep 60\nmodule = "),
    "gunicorn": ("deploy/gunicorn/config.py", "import ", "import time\n\ntime.sleep(60)\nimport "),
}


def family(stack: NativeStack, service: str) -> list[psutil.Process]:
    master = psutil.Process(stack.pids()[service])
    return [master, *master.children(recursive=True)]


def check_healed(stack: NativeStack, *words: str) -> None:
    began = time.monotonic()
    said = stack.up()
    assert time.monotonic() - began < LONGEST
    assert re.search(rf"^ +nginx +{stack.cores} ", said, re.M), said
    for word in words:
        assert word in said
    with stack.client() as client:
        for app in APPS.values():
            if app.prefix:
                assert client.get(app.prefix).status_code == 200
    assert "Already up to date" in stack.up()


@each_app
def test_an_instance_that_hangs(copy: NativeStack, app: App) -> None:
    first, before = app.instances[0].name, copy.pids()
    for process in family(copy, first):
        process.suspend()
    check_healed(copy, f"Roll {app.name}: {first} does not answer", f"✓ {first} restarted and ready")
    assert {name for name, pid in copy.pids().items() if pid != before[name]} == {first}


@each_app
def test_a_worker_that_hangs(copy: NativeStack, app: App) -> None:
    first = app.instances[0].name
    family(copy, first)[-1].suspend()
    assert "passed, 0 failed" not in copy.make("doctor").stdout
    check_healed(copy, f"Roll {app.name}: {first} does not answer", f"✓ {first} restarted and ready")


@each_app
def test_an_instance_that_hangs_at_its_start(copy: NativeStack, app: App) -> None:
    first, *others = (instance.name for instance in app.instances)
    path, old, new = HANG[app.server.kind]
    with edited(copy, path.format(app=app.name), old, new):
        began = time.monotonic()
        done = copy.make("up")
        assert time.monotonic() - began < LONGEST
        assert done.returncode
        assert f"{first} was not ready within 30 s: " in done.stdout
        assert "The end of its log:" in done.stdout
        assert f"{' and '.join(others)} still serves" in done.stdout
    check_healed(copy, f"✓ {first} restarted and ready")


@pytest.mark.parametrize(
    ("number", "of", "why"),
    [
        (signal.SIGSTOP, lambda family: family, "it does not answer"),
        (signal.SIGSTOP, lambda family: family[:1], "its master is stopped"),
        (signal.SIGKILL, lambda family: family[:1], "its master has ended"),
        (signal.SIGKILL, lambda family: family, "it does not answer"),
    ],
    ids=["all hang", "the master hangs", "the master was killed", "all were killed"],
)
def test_nginx(
    copy: NativeStack, number: signal.Signals, of: Callable[[list[psutil.Process]], list[psutil.Process]], why: str
) -> None:
    for process in of(family(copy, "nginx")):
        process.send_signal(number)
    # supervisord notices within seconds that all were killed, and may be first.
    check_healed(copy, *([f"nginx: {why}: restarting"] if number == signal.SIGSTOP else []))
