"""The stack as `make up` starts it on this machine, with files and a port of its own."""

import os
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.core.apps import APPS, INSTANCES
from deploy.core.probe import UNCACHED
from deploy.core.settings import EXAMPLE, PROJECT, parse
from tests.servers import free_port, program

PAGES = [app.prefix for app in APPS.values() if app.prefix]


def make(environment: dict[str, str], *targets: str) -> str:
    """Return the output of make. It inherits no setting of the tests, and no flag of a make that runs them."""
    left_out = {*parse(EXAMPLE.read_text()), "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    done = subprocess.run(
        ["make", "--no-print-directory", *targets],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in left_out} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    # Otherwise `make up` would install it.
    program("nginx", "nginx libnginx-mod-http-brotli-static")
    # A short path: it is part of the names of sockets. Other users may enter it: root's stack runs as www-data.
    with tempfile.TemporaryDirectory(prefix="smoke-") as directory:
        Path(directory).chmod(0o755)
        files = {"VAR_DIR": f"{directory}/var", "ENV_FILE": f"{directory}/env"}
        environment = files | {"PORT": str(free_port()), "STACK": "native"}
        make(environment, "up")
        try:
            yield environment
        finally:
            make(environment, "down")


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{environment['PORT']}", timeout=30) as client:
        yield client


@pytest.mark.parametrize("page", PAGES)
def test_each_app_answers_through_nginx(client: httpx.Client, page: str) -> None:
    response = client.get(page)
    assert response.status_code == 200
    assert response.headers["X-Request-ID"]
    assert response.headers["Content-Security-Policy"]


def test_no_instance_is_visible_from_outside(client: httpx.Client) -> None:
    for instance in INSTANCES:
        assert client.get(f"/{instance}/health/ready").status_code == 404


def test_status_shows_each_instance(environment: dict[str, str]) -> None:
    shown = make(environment, "status")
    assert [name for name in INSTANCES if name not in shown] == []


def test_a_restart_under_load_fails_no_request(environment: dict[str, str]) -> None:
    statuses: Counter[int | str] = Counter()
    done = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{environment['PORT']}", timeout=30, headers=UNCACHED) as client:
            while not done.is_set():
                for page in PAGES:
                    try:
                        statuses[client.get(page).status_code] += 1
                    except httpx.HTTPError as error:
                        statuses[repr(error)] += 1

    clients = [threading.Thread(target=load) for _ in range(4)]
    for each in clients:
        each.start()
    try:
        make(environment, "restart")
    finally:
        done.set()
        for each in clients:
            each.join()
    assert list(statuses) == [200], statuses


def test_secrets_are_for_their_owner_only(environment: dict[str, str]) -> None:
    assert Path(environment["ENV_FILE"]).stat().st_mode & 0o777 == 0o600
