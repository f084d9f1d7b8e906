"""A command acts on the containers of its own clone, and on what does not answer as on what does not run."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.stacks import ComposeStack, copied, docker


@pytest.fixture
def second(stack: ComposeStack) -> Iterator[ComposeStack]:
    """Another clone with the first one's .env, and so with the name of its containers."""
    with copied() as project:
        clone = ComposeStack(project.parent, project=project)
        (project.parent / "env").write_text((stack.var.parent / "env").read_text())
        clone.environment["COMPOSE_PROJECT_NAME"] = stack.name
        yield clone


def state(stack: ComposeStack) -> dict[str, tuple[str, str, str]]:
    return {name: (each["Id"], each["State"]["StartedAt"], each["Image"]) for name, each in stack.containers().items()}


@pytest.mark.parametrize("target", ["up", "status", "restart", "manage", "down", "destroy"])
def test_another_clone_of_the_same_name_touches_nothing(stack: ComposeStack, second: ComposeStack, target: str) -> None:
    before = state(stack)
    done = second.make(target, YES="yes")
    assert done.returncode
    assert f"The containers named {stack.name} are those of {stack.project}" in done.stdout
    assert "COMPOSE_PROJECT_NAME" in done.stdout
    assert "Traceback" not in done.stdout
    assert state(stack) == before


def test_a_clone_of_its_own_name_sees_nothing_of_the_others(stack: ComposeStack, second: ComposeStack) -> None:
    """Without a setting, `make up` makes a name."""
    before = state(stack)
    del second.environment["COMPOSE_PROJECT_NAME"]
    (second.var.parent / "env").unlink()
    assert second.make("down").stdout == "Nothing was running.\n"
    assert "Nothing is running" in second.make("status").stdout
    assert state(stack) == before


@pytest.mark.parametrize("how", ["pause", "freeze"])
def test_an_instance_that_does_not_answer(stack: ComposeStack, how: str) -> None:
    container = stack.container("site-a")
    if how == "pause":
        docker("pause", container["Id"])
    else:
        subprocess.run(["kill", "-STOP", *descendants(container["State"]["Pid"])], check=True)
    assert stack.make("status").stdout.count(" ready ") == len(stack.containers()) - 1
    said = stack.up()
    assert ("site-a was paused" if how == "pause" else "Roll site: site-a: it does not answer") in said
    assert stack.make("status").stdout.count(" ready ") == len(stack.containers())
    with stack.client() as client:
        assert {client.get("/").status_code for _ in range(20)} == {200}


def descendants(pid: int) -> list[str]:
    children = subprocess.run(
        ["pgrep", "--parent", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [str(pid), *(each for child in children for each in descendants(int(child)))]


def test_another_user_gets_the_volumes(other: ComposeStack) -> None:
    done = other.make("up", APP_UID="10002")
    try:
        assert done.returncode == 0, done.stdout
        assert "APP_UID is now 10002" in done.stdout
        for path in ("media", "static"):
            assert other.run("site-a", "stat", "--format=%u", f"var/{path}") == "10002\n"
        other.run("site-a", "touch", "var/media/written")
    finally:
        other.up()


def test_any_password_of_redis(other: ComposeStack) -> None:
    """It is in a file of Redis and in the apps' URLs, and Redis keeps no data that an old one protects."""
    password = '>#!+@all ~* pass word # x it\'s "a" \\ $HOME ${x} %41 é✓ @:/?#[]&=+'
    done = other.make("up", REDIS_PASSWORD=password)
    try:
        assert done.returncode == 0, done.stdout
        assert password not in done.stdout
    finally:
        other.up()


def test_variables_of_docker_that_change_how_images_are_built(other: ComposeStack) -> None:
    done = other.make("up", DOCKER_BUILDKIT="0", COMPOSE_FILE="/nonexistent", COMPOSE_PROFILES="x")
    assert done.returncode == 0, done.stdout
    assert "Already up to date" in done.stdout


def test_an_address_of_ipv6(other: ComposeStack) -> None:
    done = other.make("up", ADDRESS="::1")
    try:
        assert done.returncode == 0, done.stdout
        url = f"http://[::1]:{other.environment['PORT']}/"
        assert f"The address changes from http://127.0.0.1:{other.environment['PORT']}/ to {url}" in done.stdout
        assert f"\n{url}\n" in other.make("status").stdout
        assert other.make("doctor").returncode == 0
    finally:
        other.up()
