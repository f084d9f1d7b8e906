"""A run of the tests that is stopped or killed leaves no process and no file."""

import os
import signal
import subprocess
import time

import pytest

from tests.cleanup import mentioning
from tests.environment import PROJECT
from tests.stacks import directory


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_run_that_ends_early(how: signal.Signals) -> None:
    deadline = time.monotonic() + 300
    with directory() as files:
        # tests/smoke starts the whole stack.
        command = [str(PROJECT / ".venv/bin/pytest"), "tests/smoke", "--data=postgresql"]
        environment = os.environ | {"TMPDIR": str(files)}
        run = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
        while not list(files.glob("tests-*/smoke-*/var/run/nginx.pid")):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert mentioning(files)
        run.send_signal(how)
        run.wait(120)
        while list(files.iterdir()):
            assert time.monotonic() < deadline, mentioning(files)
            time.sleep(0.1)
        assert mentioning(files) == []
