"""The contents of the images. They run as any user."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.compose.conftest import OURS, SENDERS, SERVICES, processes, wait_healthy
from tests.sample import ENDPOINT
from tests.stacks import ComposeStack, docker

CONTENTS = {
    "nginx": {"deploy", "nginx", "settings", "var"},
    "site-a": {".venv", "deploy", "django_site", "var"},
    "api-a": {".venv", "deploy", "tornado_api", "var"},
}
ours = pytest.mark.parametrize("service", CONTENTS)


@ours
def test_it_has_no_compiler(stack: ComposeStack, service: str) -> None:
    found = stack.run(service, "find", "/usr", "/opt", "/srv", "-not", "-path", "/proc/*", "-type", "f,l").splitlines()
    tools = {"gcc", "cc", "g++", "ld", "as", "make", "pip", "pip3", "uv", "uvx", "git"}
    assert not [path for path in found if "/bin/" in path and path.rpartition("/")[2].partition("-")[0] in tools]
    assert not [path for path in found if path.endswith(("/pip/__init__.py", "/ensurepip/__init__.py"))]


@ours
def test_nothing_else_of_the_project_is_in_it(stack: ComposeStack, service: str) -> None:
    assert {*stack.run(service, "ls", "-A", "/srv/app").split()} == CONTENTS[service]
    deploy = {*stack.run(service, "ls", "-A", "/srv/app/deploy").split()}
    assert deploy - {"gunicorn", "supervisor", "uwsgi"} == {"apps.toml", "core", "servers"}


@pytest.mark.parametrize(("service", "app"), [("site-a", "django_site"), ("api-a", "tornado_api")])
def test_its_modules_are_compiled(stack: ComposeStack, service: str, app: str) -> None:
    """The file system is read-only, so Python would compile the others at each start."""
    find = """
import importlib.util, pathlib, sys
modules = [path for top in sys.argv[1:] for path in pathlib.Path(top).rglob("*.py")]
compiled = [pathlib.Path(importlib.util.cache_from_source(path)) for path in modules]
print(len(modules), [str(path) for path in compiled if not path.exists()])
"""
    count, _, missing = stack.run(service, "python3", "-c", find, app, "deploy", ".venv/lib").strip().partition(" ")
    assert int(count) > 3
    assert missing == "[]"


@pytest.mark.parametrize("service", [name for name in OURS if name not in SENDERS])
def test_after_its_start_every_line_that_it_prints_is_json(stack: ComposeStack, service: str) -> None:
    before = len(docker("logs", stack.container(service)["Id"]).splitlines())
    with stack.client() as client:
        for path in ("/", "/nothing-here/", "/accounts/x/", ENDPOINT, "/api/nothing-here", "/static/x"):
            for method in ("GET", "POST", "DELETE"):
                for _ in range(4):
                    client.request(method, path)
    # nginx writes its log once a second.
    time.sleep(2)
    said = docker("logs", stack.container(service)["Id"]).splitlines()[before:]
    assert len(said) >= 3
    for line in said:
        assert {"time", "level", "app"} <= json.loads(line).keys(), line


def test_any_user_may_run_it(other: ComposeStack) -> None:
    for service in OURS:
        for pid in processes(other, service):
            # A health check may have ended.
            with suppress(FileNotFoundError):
                assert Path(f"/proc/{pid}").stat().st_uid == 12345
    wait_healthy(other, *SERVICES)
    other.manage(
        "shell", "--command", "from django.core.files.storage import default_storage as disk; disk.open('x', 'w')"
    )
    with other.client() as client:
        for path in ("/", ENDPOINT, "/media/x"):
            assert client.get(path).status_code == 200


def test_the_data_ask_for_a_password(stack: ComposeStack) -> None:
    """Other containers on the network cannot read them."""
    ask = """
import sys, psycopg
try:
    psycopg.connect(host="postgres", user="tandem", password=sys.argv[1])
    print("let in")
except psycopg.OperationalError as error:
    print(error)
"""
    good = stack.setting("DATABASE_URL").partition("://tandem:")[2].partition("@")[0]
    assert stack.run("site-a", "python", "-c", ask, good) == "let in\n"
    for password in ("", "tandem", "postgres", good[:-1]):
        said = stack.run("site-a", "python", "-c", ask, password)
        assert "no password supplied" in said or "password authentication failed" in said
    ask = "import redis; print(redis.Redis('redis').ping(), redis.Redis('redis').get('x'))"
    with pytest.raises(AssertionError, match="NoPermission"):
        stack.run("site-a", "python", "-c", ask)
