"""Containers that are replaced, killed or stopped; the output of the commands; and the data that stays."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from deploy.core.probe import UNCACHED
from tests.compose.conftest import SERVICES, wait_healthy
from tests.sample import ENDPOINT
from tests.stack.checks import upstream, workers_of
from tests.stacks import ComposeStack, docker

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
    """nginx and the apps find the new container, which has another address."""
    before = stack.container(service)["Id"]
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", service)
    wait_healthy(stack)
    assert stack.container(service)["Id"] != before
    stack.wait_ready()
    assert burst(stack) == {200: 60}


def test_doctor_finds_nothing_wrong(stack: ComposeStack) -> None:
    done = stack.make("doctor")
    assert done.returncode == 0, done.stdout


def test_a_container_that_was_killed_by_hand(stack: ComposeStack) -> None:
    """The engine does not restart it, the other instance serves, and `make up` starts it."""
    docker("kill", stack.container("site-a")["Id"])
    try:
        assert burst(stack) == {200: 60}
        with stack.client(headers=UNCACHED) as client:
            assert {upstream(client.get("/")) for _ in range(20)} == {"site-b"}
    finally:
        stack.up()
    with stack.client(headers=UNCACHED) as client:
        assert {upstream(client.get("/")) for _ in range(20)} == {"site-a", "site-b"}


def test_supervisord_killed(stack: ComposeStack) -> None:
    """It is the first process of a gunicorn instance's container."""
    before = stack.container("api-a")["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.container("api-a")["State"]["Pid"] not in (0, before))
    stack.wait_ready()
    assert burst(stack) == {200: 60}


def test_an_instance_that_cannot_start_ends_its_container(stack: ComposeStack) -> None:
    """The api's image without the settings that the api needs."""
    api, name = stack.container("api-a"), f"{stack.name}-fatal"
    options = [f"--tmpfs={path}:{options}" for path, options in api["HostConfig"]["Tmpfs"].items()]
    options += ["--env=APP=api", "--env=INSTANCE=api-a", "--restart=unless-stopped", f"--name={name}"]
    docker("run", "--detach", "--read-only", *options, api["Image"])
    try:
        wait_until(lambda: int(docker("inspect", "--format={{.RestartCount}}", name)) > 0)
        assert re.search(r'"ERROR".* "api-a is BACKOFF"', docker("logs", name))
    finally:
        docker("rm", "--force", name)


def test_workers_are_one_for_each_core_of_the_quota(other: ComposeStack) -> None:
    assert other.cores == 1
    for pid in other.pids().values():
        assert len(workers_of(pid)) == 1


@pytest.mark.parametrize(("cpus", "cores"), [("0.5", 1), ("1", 1), ("1.5", 2)])
def test_a_part_of_a_core_counts_as_one(stack: ComposeStack, cpus: str, cores: int) -> None:
    image = stack.container("api-a")["Image"]
    assert docker("run", "--rm", f"--cpus={cpus}", image, "python3", "-m", "deploy.core.cores") == f"{cores}\n"


def running_state(stack: ComposeStack) -> dict[str, Any]:
    """Return each container, its state, and the secrets that it would restart with."""
    containers = stack.containers()
    started: dict[str, Any] = {name: (containers[name]["Id"], containers[name]["State"]) for name in SERVICES}
    for _, state in started.values():
        # The log of the health check changes by itself.
        state.pop("Health")
    return started | {name: stack.setting(name) for name in ("SECRET_KEY", "TOKEN_KEYS")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", ""),
        ("PORT", "0"),
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
    before = running_state(other)
    done = other.make("up", **({name: value} | ({"TLS": "on"} if name == "TLS_CERTIFICATE" else {})))
    try:
        assert done.returncode
        assert name in done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        assert running_state(other) == before
    finally:
        if running_state(other) != before:
            other.up()


def test_status(stack: ComposeStack) -> None:
    done = stack.make("status")
    assert done.returncode == 0
    for service in SERVICES:
        assert re.search(rf"^{service} +ready ", done.stdout, re.M), done.stdout
    assert f"http://127.0.0.1:{stack.environment['PORT']}/" in done.stdout


def test_logs(stack: ComposeStack) -> None:
    """The command follows the logs until it is interrupted."""
    with stack.client() as client:
        client.get(f"{ENDPOINT}?secret=xyzzy")
    command = ["timeout", "--signal=INT", "10", "make", "--no-print-directory", "logs"]
    done = subprocess.run(
        command, cwd=stack.project, env=stack.environment, capture_output=True, text=True, check=False
    )
    assert re.search(rf"^api-[ab]\S* +\d\d:\d\d:\d\d INFO +.*{ENDPOINT} ", done.stdout, re.M), done.stdout
    assert re.search(rf"^nginx\S* +\d\d:\d\d:\d\d INFO +.*{ENDPOINT} ", done.stdout, re.M), done.stdout
    assert "xyzzy" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_data_outlives_down_and_a_wrong_answer(other: ComposeStack) -> None:
    """Every stack of these tests ends with `make destroy` and the right answer."""
    other.manage("shell", "--command", "from accounts.models import User; User.objects.create(username='kept')")
    done = other.make("destroy", answer="yes\n")
    assert done.returncode
    assert "Nothing was deleted" in done.stdout
    assert burst(other) == {200: 60}
    assert other.make("down").returncode == 0
    assert not other.containers()
    done = other.make("status")
    assert done.returncode
    assert "Nothing is running" in done.stdout
    said = other.up()
    assert "password" not in said
    count = "from accounts.models import User; print(User.objects.filter(username='kept').count())"
    assert other.manage("shell", "--verbosity=0", "--command", count).strip() == "1"


def test_a_setting_of_nginx_is_a_reload(other: ComposeStack) -> None:
    """Only the container of the metrics is replaced, because it reads the settings when it starts."""

    def ids() -> dict[str, str]:
        return {name: container["Id"] for name, container in other.containers().items() if name != "metrics"}

    before = ids()
    done = other.make("up", DEBUG_UPSTREAM="off")
    assert "nginx has a new configuration: reloaded" in done.stdout
    with other.client() as client:
        assert "X-Upstream" not in client.get("/").headers
    assert "reloaded" in other.up()
    assert ids() == before
    assert "Already up to date.\n" in other.up()


def test_nothing_to_do(other: ComposeStack) -> None:
    """The second `make up` builds no image."""
    before = running_state(other)
    other.up()
    said = other.up()
    assert "nothing to build\n" in said
    assert "Already up to date.\n" in said
    assert running_state(other) == before


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_an_image_that_was_deleted_or_replaced(other: ComposeStack, how: str) -> None:
    """It is built again, from the engine's cache, and so its containers are still up to date."""
    name = f"{other.name}-api"
    before = docker("image", "inspect", "--format={{.Id}}", name)
    if how == "deleted":
        # Its containers use it: this removes the name.
        docker("image", "rm", "--force", name)
    else:
        docker("tag", f"{other.name}-nginx", name)
    said = other.up()
    assert "nothing to build" not in said
    assert "Already up to date.\n" in said
    assert docker("image", "inspect", "--format={{.Id}}", name) == before


def test_a_secret_replaces_the_instances_that_get_it(other: ComposeStack) -> None:
    before = {name: container["Id"] for name, container in other.containers().items()}
    assert other.make("up", SECRET_KEY="x" * 50).returncode == 0
    after = {name: container["Id"] for name, container in other.containers().items()}
    assert {name for name in before if before[name] != after[name]} == {"site-a", "site-b", "jobs-a", "jobs-b"}
    assert other.setting("SECRET_KEY") == "x" * 50
    other.up()
    assert len([*(other.var / "secrets").glob("secret_key-*")]) == 1
