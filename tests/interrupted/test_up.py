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
# One seed for each, so that a failure can be repeated.
MOMENTS = [(number, [*SIGNALS][number % len(SIGNALS)]) for number in range(20)]
# How many lines a first `make up` prints, to within a few.
LINES = 24


def interrupt(stack: NativeStack, lines: int, seconds: float, number: int) -> str:
    """Start `make up` at a terminal of its own. End it so many seconds after this line. Return its output."""
    log = stack.var.parent / "interrupted"
    with log.open("wb") as out:
        # A shell that runs these tests in the background makes them ignore an interrupt.
        command = ["env", "--default-signal=INT", "--default-signal=HUP", "make", "--no-print-directory", "up"]
        make = subprocess.Popen(
            command, cwd=stack.project, env=stack.environment, stdout=out, stderr=out, start_new_session=True
        )
        while make.poll() is None and log.read_bytes().count(b"\n") < lines:
            time.sleep(0.01)
        time.sleep(seconds)
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
def test_make_up_at_a_random_moment(tmp_path: Path, number: int, how: str) -> None:
    stack = NativeStack(tmp_path)
    chance = random.Random(number)
    lines, seconds = chance.randrange(LINES), chance.uniform(0, 0.5)
    try:
        said = [interrupt(stack, lines, seconds, SIGNALS[how])]
        status = stack.make("status")
        said.append(status.stdout)
        if number % 2:
            down = stack.make("down")
            said.append(down.stdout)
            assert not list(processes_of(stack.var))
        said.append(stack.up())
        reached = [line.strip() for line in said[0].splitlines() if line.startswith("  ·")][-1:]
        stopped = ", stopped what it started" if "Stopping what was started" in said[0] else ""
        print(f"{how} {seconds:.1f} s after line {lines}: {reached}{stopped}; status: {status.stdout.splitlines()[:1]}")
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
