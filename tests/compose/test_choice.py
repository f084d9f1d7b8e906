"""Which target `make up` chooses."""

import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from deploy.targets.compose.target import engine
from tests.servers import Missing
from tests.stacks import NativeStack, copied


@pytest.fixture
def without_images() -> Iterator[NativeStack]:
    """A project whose PostgreSQL image can be neither found nor pulled."""
    versions, why_not = engine()
    if not versions:
        raise Missing(why_not)
    with copied() as project:
        file = project / "docker-compose.yml"
        file.write_text(file.read_text().replace("image: postgres:", "image: postgres:no-such-"))
        name = f"tandem-{os.urandom(4).hex()}"
        yield NativeStack(project.parent, {"STACK": "", "COMPOSE_PROJECT_NAME": name}, project)


def test_without_images_the_stack_runs_natively(without_images: NativeStack) -> None:
    stack = without_images
    said = stack.up()
    try:
        assert said.startswith("Stack: compose (Docker ")
        assert "\nStack: native (the images for compose can be neither pulled nor built)\n" in said
        assert httpx.get(stack.url).status_code == 200
        assert stack.up().startswith("Stack: native (it is running)\n")
        assert "site-a" in stack.make("status").stdout
    finally:
        stack.down()


def test_not_if_containers_are_requested(without_images: NativeStack) -> None:
    done = without_images.make("up", STACK="compose")
    assert done.returncode
    assert done.stdout.startswith("Stack: compose (STACK says so)\n")
    assert "docker compose pull failed" in done.stdout
    assert "native" not in done.stdout


def test_compose_without_make_says_what_to_run(without_images: NativeStack) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COMPOSE_FILE"}
    command = ["docker", "compose", "up", "--detach"]
    done = subprocess.run(
        command, cwd=without_images.project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "run `make up` instead" in done.stderr.splitlines()[0]


def test_an_unknown_target(without_images: NativeStack) -> None:
    done = without_images.make("up", STACK="kubernetes")
    assert done.returncode
    assert "STACK is 'kubernetes': should be compose or native" in done.stdout
