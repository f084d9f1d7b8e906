"""`make push` to a registry, and a stack of its images."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.core.apps import SERVICES
from tests import servers
from tests.stack.checks import LISTENING
from tests.stacks import PROJECT, ComposeStack, directory, docker, outside, running


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """IMAGE at a registry of its own. Docker's engine speaks HTTP with one on this machine's loopback interface."""
    registry, port = servers.program("docker-registry", "docker-registry"), servers.free_port()
    with directory() as files:
        storage = {"filesystem": {"rootdirectory": str(files / "images")}}
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": storage,
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        (files / "config.yml").write_text(json.dumps(config))
        with ExitStack() as started:
            # A test may be in nginx's network.
            with outside():
                started.enter_context(servers.running([registry, "serve", str(files / "config.yml")], port))
            yield f"127.0.0.1:{port}/team/shop"


def test_a_stack_of_pushed_images(stack: ComposeStack, image: str) -> None:
    made: dict[str, str] = {}
    for release in ("one", "two"):
        pushed = stack.make("push", IMAGE=image, RELEASE=release)
        assert pushed.returncode == 0, pushed.stdout
        assert f"\n  IMAGE={image}\n  RELEASE={release}\n" in pushed.stdout
        names = [f"{image}-{file.stem}:{release}" for file in PROJECT.glob("deploy/docker/*.Dockerfile")]
        made |= {name: docker("image", "inspect", "--format", "{{.Id}}", name).strip() for name in names}

    # A server has none of them.
    docker("image", "rm", *made)
    with running(ComposeStack, {"IMAGE": image, "RELEASE": "one", "CPUS": "1"}) as server:
        containers = {name: each for name, each in server.containers().items() if name in SERVICES}
        assert {each["Image"] for each in containers.values()} == {*made.values()} - {made[f"{image}-certbot:one"]}
        with server.client() as client:
            assert {client.get(app.prefix).status_code for app in LISTENING} == {200}
        for setting, words in (("RELEASE", "manifest unknown"), ("APP_UID", "was built for 10001: should be the same")):
            done = server.make("up", **{setting: "12345"})
            assert done.returncode
            assert words in done.stdout, done.stdout
            assert "Stack: native" not in done.stdout
        # Another tag of the same images replaces no container.
        server.environment["RELEASE"] = "two"
        assert "Already up to date.\n" in server.up()
        assert {name: server.container(name)["Id"] for name in containers} == {
            name: each["Id"] for name, each in containers.items()
        }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "IMAGE is empty: should be, for example, `make push IMAGE=registry.example.org/team/shop`"),
        ({"IMAGE": "registry.example.org/Shop"}, "IMAGE is 'registry.example.org/Shop': should be a registry and"),
        (
            {"IMAGE": "registry.example.org/shop:1"},
            "IMAGE is 'registry.example.org/shop:1': should be a registry and",
        ),
        ({"IMAGE": "registry.example.org/shop", "RELEASE": "a b"}, "RELEASE is 'a b': should be a tag of images"),
    ],
)
def test_bad_values(stack: ComposeStack, given: dict[str, str], words: str) -> None:
    done = stack.make("push", **given)
    assert done.returncode
    assert words in done.stdout
    assert "Traceback" not in done.stdout
