"""Containers that are replaced, killed, given up and stopped; and what `make` says and keeps."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.compose.conftest import SERVICES, wait_healthy
from tests.sample import ENDPOINT
from tests.stack.test_serving import upstream
from tests.stacks import PROJECT, ComposeStack, docker

PATHS = ("/accounts/login/", ENDPOINT)


def burst(stack: ComposeStack) -> Counter[int]:
    with stack.client() as client:
        return Counter(client.get(path).status_code for _ in range(30) for path in PATHS)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("service", SERVICES)
def test_another_container(stack: ComposeStack, service: str) -> None:
    """Has the address of nobody whom nginx, or an app, still takes for the old one."""
    before = stack.container(service)["Id"]
    stack.compose("up", "--detach", "--force-recreate", service)
    wait_healthy(stack)
    assert stack.container(service)["Id"] != before
    stack.wait_ready()
    assert burst(stack) == {200: 60}


def test_doctor_finds_nothing_wrong(stack: ComposeStack) -> None:
    done = stack.make("doctor")
    assert done.returncode == 0, done.stdout


def test_a_container_that_was_killed_by_hand(stack: ComposeStack) -> None:
    """The engine takes that for a wish; the other instance serves, and `make up` brings it back."""
    docker("kill", stack.container("site-a")["Id"])
    try:
        assert burst(stack) == {200: 60}
        with stack.client() as client:
            assert {upstream(client.get("/")) for _ in range(20)} == {"site-b"}
    finally:
        stack.up()
    with stack.client() as client:
        assert {upstream(client.get("/")) for _ in range(20)} == {"site-a", "site-b"}


def test_supervisord_killed(stack: ComposeStack) -> None:
    """It is the first process of the api's container."""
    before = stack.container("api")["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.container("api")["State"]["Pid"] not in (0, before))
    stack.wait_ready()
    assert burst(stack) == {200: 60}


def test_an_instance_that_supervisord_gave_up_ends_the_container(stack: ComposeStack, tmp_path: Path) -> None:
    """Of the api's image, without the settings that the api needs, and with one try instead of eleven."""
    file = PROJECT / "deploy/supervisor/api.conf"
    (tmp_path / "api.conf").write_text(re.sub(r"startretries = \d+", "startretries = 0", file.read_text()))
    tmp_path.chmod(0o755)
    api, name = stack.container("api"), f"{stack.name}-fatal"
    options = [f"--tmpfs={path}:{options}" for path, options in api["HostConfig"]["Tmpfs"].items()]
    options.append(f"--volume={tmp_path}/api.conf:/srv/app/deploy/supervisor/api.conf:ro")
    docker("run", "--detach", "--read-only", "--restart=unless-stopped", f"--name={name}", *options, api["Image"])
    try:
        wait_until(lambda: int(docker("inspect", "--format={{.RestartCount}}", name)) > 0)
        assert re.search(r'"ERROR".* "tandem-api-[ab] is FATAL"', docker("logs", name))
    finally:
        docker("rm", "--force", name)


def test_workers_are_one_for_each_core_of_the_quota(other: ComposeStack) -> None:
    assert other.cores == 1
    for pid in other.pids().values():
        assert len(psutil.Process(pid).children()) == 1


@pytest.mark.parametrize(("cpus", "cores"), [("0.5", 1), ("1", 1), ("1.5", 2)])
def test_a_started_core_is_one(stack: ComposeStack, cpus: str, cores: int) -> None:
    image = stack.container("api")["Image"]
    assert docker("run", "--rm", f"--cpus={cpus}", image, "python3", "-m", "deploy.cores") == f"{cores}\n"


def what_runs(stack: ComposeStack) -> dict[str, Any]:
    """And with which secrets it would start again by itself."""
    containers = stack.containers()
    started: dict[str, Any] = {name: (containers[name]["Id"], containers[name]["State"]) for name in SERVICES}
    for _, state in started.values():
        # Its health check's log.
        state.pop("Health")
    return started | {name: stack.setting(name) for name in ("SECRET_KEY", "TOKEN_KEYS")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", ""),
        ("PORT", "80"),
        ("TLS", "perhaps"),
        ("CORES", "two"),
        ("CPUS", "many"),
        ("MEMORY", "much"),
        ("LOG_LEVEL", "loud"),
        ("SECRET_KEY", "short"),
        ("TOKEN_KEYS", "short"),
        ("TLS_CERTIFICATE", "/nowhere"),
    ],
)
def test_a_malformed_setting_is_a_line(other: ComposeStack, name: str, value: str) -> None:
    before = what_runs(other)
    done = other.make("up", **({name: value} | ({"TLS": "on"} if name == "TLS_CERTIFICATE" else {})))
    try:
        assert done.returncode
        assert name in done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        assert what_runs(other) == before, "it was touched"
    finally:
        if what_runs(other) != before:
            other.up()


def test_status(stack: ComposeStack) -> None:
    done = stack.make("status")
    assert done.returncode == 0
    for service in SERVICES:
        state = "healthy" if service in ("postgres", "redis") else "ready"
        assert re.search(rf"^{stack.name}-{service}-1 +{state} ", done.stdout, re.M), done.stdout
    assert f"http://127.0.0.1:{stack.environment['PORT']}/" in done.stdout


def test_logs(stack: ComposeStack) -> None:
    """It follows them until it is interrupted."""
    with stack.client() as client:
        client.get(f"{ENDPOINT}?secret=xyzzy")
    command = ["timeout", "--signal=INT", "10", "make", "--no-print-directory", "logs"]
    done = subprocess.run(
        command, cwd=stack.project, env=stack.environment, capture_output=True, text=True, check=False
    )
    assert re.search(rf"^api\S* +\d\d:\d\d:\d\d INFO +.*{ENDPOINT} ", done.stdout, re.M), done.stdout
    assert re.search(rf"^nginx\S* +\d\d:\d\d:\d\d INFO +.*{ENDPOINT} ", done.stdout, re.M), done.stdout
    assert "xyzzy" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_data_outlives_down_and_a_wrong_answer(other: ComposeStack) -> None:
    """The right answer is how every stack of these tests ends."""
    other.manage(
        "shell", "--command", "from django.contrib.auth.models import User; User.objects.create(username='kept')"
    )
    done = other.make("destroy", answer="yes\n")
    assert done.returncode
    assert "nothing was deleted" in done.stdout
    assert burst(other) == {200: 60}
    assert other.make("down").returncode == 0
    assert not other.containers()
    done = other.make("status")
    assert done.returncode
    assert "Nothing is running" in done.stdout
    said = other.up()
    assert "password" not in said
    count = "from django.contrib.auth.models import User; print(User.objects.filter(username='kept').count())"
    assert other.manage("shell", "--verbosity=0", "--command", count).strip() == "1"
