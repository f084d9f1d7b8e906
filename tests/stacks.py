"""The real stack, for the tests that go through nginx: what `make up` starts, with every file and port its own."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from xmlrpc.client import ServerProxy

import httpx
import psutil
import psycopg
import pytest
from dotenv import dotenv_values
from supervisor.xmlrpc import SupervisorTransport

from tests.environment import environment
from tests.servers import free_port, program

PROJECT = Path(__file__).resolve().parents[1]
# Of this pytest's own environment: a stack gets only what `make up` gives it.
SETTINGS = {*dotenv_values(PROJECT / ".env.example"), *environment("")}
# Of a make above this one, whose flags are not for the one that is tested.
MAKE = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}

addresses = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


class Stack:
    """One stack, its files in `directory`, made by the Makefile of `project`, with variables for `make up`."""

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        self.project = project
        self.var = directory / "var"
        self.port = free_port()
        own = {"VAR_DIR": str(self.var), "ENV_FILE": str(directory / "env"), "PORT": str(self.port)}
        outer = {name: value for name, value in os.environ.items() if name not in SETTINGS | MAKE}
        self.environment = outer | own | {"DEBUG_UPSTREAM": "on"} | dict(variables)
        scheme = "https" if variables.get("TLS") == "on" else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs `make TARGET`; stdout has what it wrote to stderr too."""
        return subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=self.project,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )

    def up(self) -> str:
        done = self.make("up")
        assert done.returncode == 0, done.stdout
        return done.stdout

    def down(self) -> None:
        """`make down`, which must leave no process and no socket."""
        processes = self.processes()
        done = self.make("down")
        assert done.returncode == 0, done.stdout
        left = [process for process in processes if process.is_running()] + mentioning(self.var)
        assert not left, left
        assert not [path for path in self.var.rglob("*") if path.is_socket()]

    def processes(self) -> list[psutil.Process]:
        """supervisord and everything below it, and nginx, which is a daemon."""
        masters = [psutil.Process(int((self.var / file).read_text())) for file in ("tmp/supervisord.pid", "run/nginx.pid")]
        return [process for master in masters for process in (master, *master.children(recursive=True))]

    def pids(self) -> dict[str, int]:
        """The pid of each master: nginx, site:a, …"""
        infos: Any = self.supervisor.getAllProcessInfo()
        pids = {f"{info['group']}:{info['name']}": info["pid"] for info in infos if info["group"] != "nginx"}
        return pids | {"nginx": int((self.var / "run/nginx.pid").read_text())}

    @property
    def supervisor(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.var / 'tmp/supervisord.sock'}")
        return ServerProxy("http://supervisord", transport=transport).supervisor

    @property
    def cores(self) -> int:
        """Workers of each instance, as nginx was told."""
        return int(dotenv_values(self.var / "environment")["CORES"] or 0)

    def client(self, timeout: float = 30, **options: Any) -> httpx.Client:
        """A client with an address of its own: nginx counts what an address writes."""
        transport = httpx.HTTPTransport(local_address=next(addresses))
        return httpx.Client(base_url=self.url, transport=transport, timeout=timeout, **options)

    def inside(self) -> httpx.Client:
        """nginx's socket for whoever runs the stack: /site-a/health/ready, /api-a-0/health/stats."""
        return httpx.Client(base_url="http://inside", transport=httpx.HTTPTransport(uds=f"{self.var}/run/nginx.sock"))

    def api_stats(self) -> dict[str, dict[str, Any]]:
        """What each api process says of itself, by `api-a-0`."""
        with self.inside() as inside:
            return {
                name: inside.get(f"/{name}/health/stats").json()
                for name in (f"api-{instance}-{slot}" for instance in "ab" for slot in range(self.cores))
            }

    def manage(self, *command: str) -> str:
        """Runs the site's manage.py with the stack's settings, as the user who runs the stack; its output."""
        account = {"user": "www-data", "group": "www-data", "extra_groups": []} if os.geteuid() == 0 else {}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [
                *[".venv/bin/dotenv", "-f", self.var / "environment", "run", "--"],
                *[".venv/bin/python", "django_site/manage.py", *command],
            ],
            cwd=self.project,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            **account,  # type: ignore[call-overload]
        )
        return done.stdout


def mentioning(path: Path) -> list[psutil.Process]:
    """Processes, other than this one's, that have a path in their command or their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(path) in word for word in words) and process.pid != os.getpid():
            found.append(process)
    return found


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the project, in a directory of its own, for a stack whose files a test edits."""
    # What git ignores, and git.
    left_out = shutil.ignore_patterns(".git", ".venv", ".env", "var", "artifacts", "__pycache__", ".*_cache")
    with directory() as files:
        project = files / "project"
        shutil.copytree(PROJECT, project, ignore=left_out)
        (project / ".venv").symlink_to(PROJECT / ".venv")
        yield project


@contextmanager
def edited(stack: Stack, path: str, old: str, new: str) -> Iterator[None]:
    """In the block, a file of the stack's copied project has other words."""
    file = stack.project / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        file.write_text(text)


@contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory that other users may enter: as root, the stack runs as www-data."""
    made = Path(tempfile.mkdtemp(prefix="stack-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def database() -> dict[str, str]:
    """DATABASE_URL and REDIS_URL of this run's column, the database a new one; nothing for SQLite."""
    url = urlsplit(os.environ["DATABASE_URL"])
    if url.scheme == "sqlite":
        return {}
    name = f"stack_{os.urandom(4).hex()}"
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return {"DATABASE_URL": urlunsplit(url._replace(path=f"/{name}")), "REDIS_URL": os.environ["REDIS_URL"]}


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The one that most tests share: they leave it as they found it, but for the data."""
    # `make up` would install it.
    program("nginx", "nginx libnginx-mod-http-brotli-static")
    with directory() as files:
        running = Stack(files, database())
        try:
            running.up()
            yield running
        finally:
            running.down()
