"""What the commands for containers say of the engine's answers. Functions stand in for the engine."""

import argparse
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.core.apps import APPS, PROJECT
from deploy.core.console import Failed
from deploy.targets.compose import commands, generate, target
from deploy.targets.compose.target import ComposeTarget


def container(service: str, directory: str = str(PROJECT), **state: Any) -> dict[str, Any]:
    labels = {"service": service, "project.working_dir": directory, "config-hash": "1"}
    known = {"Running": True, "Restarting": False, "Paused": False, "Status": "running", "OOMKilled": False}
    known |= {"StartedAt": "2026-01-01T00:00:00Z", "Health": {"Status": "healthy"}}
    return {
        "Id": service,
        "Image": "1",
        "State": known | state,
        "Config": {"Image": "x", "Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()}},
        "HostConfig": {"PortBindings": {}},
    }


class Engine(ComposeTarget):
    """A stack whose containers a test chooses."""

    project = "shop-1"
    hashes = {"redis": "1", "postgres": "1", "site-a": "1"}

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any]) -> None:
        self.containers_of_test = list(found)
        monkeypatch.setattr(target, "output", self.output)
        monkeypatch.setattr(target, "image_id", lambda _: "1")

    def output(self, *command: str, **_: Any) -> str:
        return (
            " ".join(each["Id"] for each in self.containers_of_test)
            if command[1] == "ps"
            else json.dumps(self.containers_of_test)
        )


def test_containers_of_another_clone_are_not_this_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Engine(monkeypatch, container("site-a", str(tmp_path)))
    assert not engine.is_running()
    with pytest.raises(Failed, match=rf"The containers named shop-1 are those of {tmp_path}, not of this clone"):
        engine.check_is_own()


def test_a_clone_that_moved_has_its_containers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Engine(monkeypatch, container("site-a", f"{tmp_path}/before"))
    assert engine.is_running()
    engine.check_is_own()


@pytest.mark.parametrize("state", [{"Paused": True, "Status": "paused"}, {"Running": False, "Status": "exited"}])
def test_what_does_not_answer_is_not_running(monkeypatch: pytest.MonkeyPatch, state: dict[str, Any]) -> None:
    engine = Engine(monkeypatch, container("redis", **state))
    assert engine.why_not_running("redis") == f"its container is {state['Status']}"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"Health": {"Status": "unhealthy"}}, "the end of its log"),
        ({"Running": False, "Status": "exited"}, "the end of its log"),
        (
            {"Running": False, "Status": "exited", "OOMKilled": True},
            "It ran out of memory, .* Its limit, MEMORY, is 2g",
        ),
    ],
)
def test_an_unhealthy_service_comes_with_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], said: str
) -> None:
    engine = Engine(monkeypatch, container("redis"), container("postgres", **state))

    def fail(*_: str, **__: Any) -> str:
        raise Failed("docker compose up failed")

    class Done:
        stdout = b"\x1b[31mthe end of its log\xff"

    monkeypatch.setattr(engine, "compose", fail)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(Failed, match=said) as failed:
        engine.start("redis", "postgres", wait=True)
    assert "\\x1b[31mthe end of its log\\xff" in str(failed.value)
    assert "The end of postgres's log" in str(failed.value)
    assert "redis's log" not in str(failed.value)


@pytest.mark.parametrize(
    ("bindings", "published"),
    [
        ({}, {}),
        ({"8000/tcp": [("127.0.0.1", "8411")]}, {"ADDRESS": "127.0.0.1", "PORT": "8411", "TLS": "off"}),
        (
            {"8000/tcp": [("[::1]", "8411"), ("127.0.0.1", "8411")]},
            {"ADDRESS": "127.0.0.1", "PORT": "8411", "TLS": "off"},
        ),
        ({"8000/tcp": [("[::1]", "8411")]}, {"ADDRESS": "::1", "PORT": "8411", "TLS": "off"}),
        (
            {"8000/tcp": [("", "443")], "8080/tcp": [("", "80")]},
            {"ADDRESS": "0.0.0.0", "PORT": "443", "PLAIN_PORT": "80", "TLS": "on"},  # noqa: S104
        ),
    ],
)
def test_the_address_of_a_running_stack(
    monkeypatch: pytest.MonkeyPatch, bindings: dict[str, Any], published: dict[str, str]
) -> None:
    nginx = container("nginx")
    nginx["HostConfig"]["PortBindings"] = {
        inner: [{"HostIp": address, "HostPort": port} for address, port in ports] for inner, ports in bindings.items()
    }
    assert Engine(monkeypatch, nginx).published() == published


def test_the_tag_of_images_is_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(target, "PROJECT", tmp_path)
    monkeypatch.setattr(target, "setting", lambda _: "")
    with pytest.raises(Failed, match="RELEASE is empty, and this is no clone of git"):
        target.release()
    for words in (["init"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)
    commit = subprocess.run(["git", "-C", tmp_path, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert target.release() == commit.stdout[:12]
    monkeypatch.setattr(target, "setting", lambda _: "named")
    assert target.release() == "named"


def test_images_that_are_pushed_are_those_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "setting", {"IMAGE": "registry.example.org/team/shop"}.get)
    monkeypatch.setattr(commands, "engine", lambda: ("Docker", ""))
    monkeypatch.setattr(commands, "git", lambda *_: " M Makefile")
    with pytest.raises(Failed, match="commit the changes, or name them with RELEASE"):
        commands.push(argparse.Namespace())


def test_a_service_elsewhere_replaces_the_stack_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://u:p@db.example.org/n?sslmode=verify-full"
    for name, value in {"DATABASE_URL": url, "REDIS_URL": "", "CA_FILE": "/any/ca.pem"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(generate, "SECRETS", tmp_path)
    found = generate.settings(dev=False)
    assert found["DATABASE_URL"] == f"{url}&sslrootcert=%2Frun%2Fsecrets%2Fca"
    assert found["REDIS_URL"].startswith("redis://apps:")
    services = generate.data_services(found)
    assert {name: "profiles" in service for name, service in services.items()} == {"postgres": True, "redis": False}
    assert all(map(generate.calls_out, APPS.values()))
    monkeypatch.setenv("DATABASE_URL", "")
    assert not generate.calls_out(APPS["api"])


@pytest.mark.parametrize("url", ["postgresql://u:p@127.0.0.1/n", "sqlite:////srv/db.sqlite3"])
def test_a_container_reaches_no_loopback_service(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(Failed, match="DATABASE_URL stays on this machine"):
        generate.settings(dev=False)


DOCKERFILE = """\
FROM debian:13.7-slim AS packages
COPY uv.lock ./
FROM debian:13.7-slim
COPY --from=packages /srv/.venv .venv
COPY --chmod=755 code \\
     more.txt ./
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What compose's configuration says of an image, with its files."""
    (tmp_path / "code").mkdir()
    files = {"Dockerfile": DOCKERFILE, ".dockerignore": "", "uv.lock": "", "more.txt": "", "code/a.py": "", "other": ""}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(target, "image_id", lambda _: "1")
    return {"context": str(tmp_path), "dockerfile": "Dockerfile", "args": {"APP_UID": "1"}}


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "uv.lock", "more.txt", "code/a.py", "code/new.py"])
def test_an_edited_file_makes_another_image(build: dict[str, Any], name: str) -> None:
    before = target.ingredients(build)
    assert before
    assert target.ingredients(build) == before
    with (Path(build["context"]) / name).open("a") as file:
        file.write("# new\n")
    assert target.ingredients(build) not in ("", before)


def test_so_does_another_mode_argument_base_or_a_removed_file(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [target.ingredients(build), target.ingredients(build | {"args": {"APP_UID": "2"}})]
    file = Path(build["context"]) / "code/a.py"
    file.chmod(0o755)
    found.append(target.ingredients(build))
    monkeypatch.setattr(target, "image_id", lambda _: "2")
    found.append(target.ingredients(build))
    file.unlink()
    found.append(target.ingredients(build))
    assert len({*found}) == len(found)


def test_a_file_that_no_dockerfile_copies_does_not(build: dict[str, Any]) -> None:
    before = target.ingredients(build)
    for name in ("other", "code/__pycache__/a.pyc"):
        file = Path(build["context"]) / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("new")
    assert target.ingredients(build) == before


@pytest.mark.parametrize(
    "line",
    [
        "COPY *.txt ./",
        'COPY ["uv.lock", "./"]',
        "ADD https://example.org/x ./",
        "COPY <<EOF /x",
        "RUN --mount=type=bind,target=/x true",
    ],
)
def test_a_dockerfile_that_is_too_special_is_always_built(build: dict[str, Any], line: str) -> None:
    (Path(build["context"]) / "Dockerfile").write_text(f"{DOCKERFILE}{line}\n")
    assert not target.ingredients(build)


@pytest.mark.parametrize("more", [{"target": "packages"}, {"dockerfile": "nowhere"}])
def test_an_image_with_other_options_is_always_built(build: dict[str, Any], more: dict[str, str]) -> None:
    assert not target.ingredients(build | more)


def test_images_that_are_as_they_were_built_are_not_built(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(target, "BUILT", tmp_path / "images.json")
    monkeypatch.setattr(Engine, "config", {"services": {"site-a": {"image": "shop-1-site", "build": build}}})
    ids = {"shop-1-site": "1"}

    def image_id(name: str) -> str:
        return ids.get(name, "")

    engine, built = Engine(monkeypatch), []
    monkeypatch.setattr(target, "image_id", cache(image_id))
    monkeypatch.setattr(engine, "compose", lambda *words: built.append(words))

    def builds() -> bool:
        built.clear()
        target.image_id.cache_clear()
        engine.build()
        return bool(built)

    assert builds()
    assert not builds()
    assert "nothing to build" in capsys.readouterr().out
    (tmp_path / "more.txt").write_text("new")
    assert builds()
    assert not builds()
    for other in ("", "2"):
        ids["shop-1-site"] = other
        assert builds()
    (tmp_path / "Dockerfile").write_text(f"{DOCKERFILE}COPY *.txt ./\n")
    assert builds()
    assert builds()
