"""`make up` that is interrupted at any moment: the commands after it work, and the admin's password is not lost."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deploy.core.apps import APPS
from deploy.core.processes import environment, processes, title
from deploy.core.supervisor import processes_of
from tests.stacks import NativeStack

# How a person, the kernel, and a lost connection end a command. All processes of a terminal get the signal, but SIGKILL
# is for the command alone, and leaves what it started.
SIGNALS = {"Ctrl-C": signal.SIGINT, "kill -9": signal.SIGKILL, "hang-up": signal.SIGHUP, "kill": signal.SIGTERM}
# Moments within the seconds that a first `make up` takes, and one per seed so that a failure can be repeated.
MOMENTS = [(number, [*SIGNALS][number % len(SIGNALS)]) for number in range(20)]


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a first `make up` takes here."""
    stack = NativeStack(Path(f"/tmp/stack-{os.urandom(4).hex()}"))  # noqa: S108
    began = time.monotonic()
    try:
        stack.var.parent.mkdir(0o755)
        stack.up()
        return time.monotonic() - began
    finally:
        stack.down()
        subprocess.run(["rm", "-r", stack.var.parent], check=True)


def interrupt(stack: NativeStack, after: float, number: int) -> str:
    """Start `make up` at a terminal of its own, and end it after so many seconds. Return its output."""
    log = stack.var.parent / "interrupted"
    with log.open("wb") as out:
        # A shell that runs these tests in the background makes them ignore an interrupt.
        command = ["env", "--default-signal=INT", "--default-signal=HUP", "make", "--no-print-directory", "up"]
        make = subprocess.Popen(
            command, cwd=stack.project, env=stack.environment, stdout=out, stderr=out, start_new_session=True
        )
        time.sleep(after)
        if number == signal.SIGKILL:
            for process in processes():
                if environment(process.pid).get("VAR_DIR") == str(stack.var) and is_command(process.pid):
                    os.kill(process.pid, number)
        elif make.poll() is None:
            os.killpg(make.pid, number)
        make.wait(timeout=90)
    # What a signal left to finish.
    deadline = time.monotonic() + 60
    while any(is_command(each.pid) and environment(each.pid).get("VAR_DIR") == str(stack.var) for each in processes()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return log.read_text()


def is_command(pid: int) -> bool:
    return " -m deploy " in title(pid)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "how"), MOMENTS, ids=[f"{number} {how}" for number, how in MOMENTS])
def test_make_up_at_a_random_moment(tmp_path: Path, seconds: float, number: int, how: str) -> None:
    stack = NativeStack(tmp_path)
    after = random.Random(number).uniform(0, seconds * 1.1)
    try:
        said = [interrupt(stack, after, SIGNALS[how])]
        status = stack.make("status")
        said.append(status.stdout)
        if number % 2:
            down = stack.make("down")
            said.append(down.stdout)
            assert not list(processes_of(stack.var))
        said.append(stack.up())
        reached = [line.strip() for line in said[0].splitlines() if line.startswith("  ·")][-1:]
        stopped = ", stopped what it started" if "Stopping what was started" in said[0] else ""
        print(f"{how} after {after:.1f} s: {reached}{stopped}; status: {status.stdout.splitlines()[:1]}")
        for each in said:
            assert "Traceback" not in each, each
        assert stack.make("status").stdout.count(" ready") == 1 + len(stack.instances)
        with stack.client() as client:
            for app in APPS.values():
                if app.prefix:
                    assert client.get(app.prefix).status_code == 200
        if any(app.seed for app in APPS.values()):
            # One of them, and the last of them, works.
            assert re.findall(r"password: (\S+)", "".join(said)), said
    finally:
        stack.down()
