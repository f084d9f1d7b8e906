"""Which stack `make up` is for."""

import os
from collections.abc import Iterator

import httpx
import pytest

from deploy.docker.stack import engine
from tests.servers import Missing
from tests.stacks import NativeStack, copied


@pytest.fixture
def without_images() -> Iterator[NativeStack]:
    """Of a project whose PostgreSQL can be neither found nor pulled."""
    versions, why_not = engine()
    if not versions:
        raise Missing(why_not)
    with copied() as project:
        file = project / "docker-compose.yml"
        file.write_text(file.read_text().replace("image: postgres:", "image: postgres:no-such-"))
        name = f"tandem-{os.urandom(4).hex()}"
        yield NativeStack(project.parent, {"STACK": "", "COMPOSE_PROJECT_NAME": name}, project)


def test_without_its_images_the_stack_runs_on_the_machine_itself(without_images: NativeStack) -> None:
    stack = without_images
    said = stack.up()
    try:
        assert said.startswith("NativeStack: compose (Docker ")
        assert "\nStack: native (compose's images cannot be had)\n" in said
        assert httpx.get(stack.url).status_code == 200
        assert stack.up().startswith("NativeStack: native (as it is up already)\n")
        assert "site-a" in stack.make("status").stdout
    finally:
        stack.down()


def test_unless_containers_are_asked_for(without_images: NativeStack) -> None:
    done = without_images.make("up", STACK="compose")
    assert done.returncode
    assert done.stdout.startswith("NativeStack: compose (STACK says so)\n")
    assert "docker compose pull failed" in done.stdout
    assert "native" not in done.stdout


def test_a_stack_that_there_is_not(without_images: NativeStack) -> None:
    done = without_images.make("up", STACK="kubernetes")
    assert done.returncode
    assert "STACK is 'kubernetes': it is compose or native" in done.stdout
