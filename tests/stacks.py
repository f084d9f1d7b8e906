"""The real stack, for the tests that go through nginx: what `make up` starts, with every file and port its own."""

import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from deploy import supervisord
from deploy.instance import INSTANCES
from tests.environment import environment
from tests.servers import Missing, free_port, program

PROJECT = Path(__file__).resolve().parents[1]
# Of this pytest's own environment: a stack gets only what `make up` gives it.
SETTINGS = {*dotenv_values(PROJECT / ".env.example"), *environment("")}
# Of a make above this one, whose flags are not for the one that is tested.
MAKE = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}

libc, CLONE_NEWNET = ctypes.CDLL(None, use_errno=True), 0x40000000
SUPERVISORCTL = ("supervisorctl", "-c", "deploy/supervisor/supervisord.conf")
# The network that this process was started in.
HOME = f"/proc/self/fd/{os.open('/proc/self/ns/net', os.O_RDONLY)}"
Kind = TypeVar("Kind", bound="AnyStack")

addresses = map("127.1.{0[0]}.{0[1]}".format, (divmod(number, 250) for number in itertools.count()))


class AnyStack(ABC):
    """One stack, its files in `directory`, made by the Makefile of `project`, with variables for `make up`."""

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        self.project = project
        self.var = directory / "var"
        own = {"VAR_DIR": str(self.var), "ENV_FILE": str(directory / "env"), "PORT": str(free_port())}
        outer = {name: value for name, value in os.environ.items() if name not in SETTINGS | MAKE}
        self.environment = outer | own | {"DEBUG_UPSTREAM": "on"} | dict(variables)

    def make(self, target: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs `make TARGET`, which may ask something; stdout has what it wrote to stderr too."""
        with outside():
            return subprocess.run(
                ["make", "--no-print-directory", target],
                cwd=self.project,
                env=self.environment | variables,
                input=answer,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=900,
            )

    def up(self) -> str:
        done = self.make("up")
        assert done.returncode == 0, done.stdout
        return done.stdout

    @abstractmethod
    def down(self) -> None:
        """Ends it; nothing of it may be left."""

    # How it is reached

    @property
    @abstractmethod
    def port(self) -> int:
        """nginx's, on `host`, where this thread is then."""

    @property
    @abstractmethod
    def plain_port(self) -> int:
        """With TLS, the one that redirects."""

    @property
    @abstractmethod
    def seen(self) -> Path:
        """var/ as nginx sees it."""

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def authority(self) -> str:
        """Host and port, as a browser names them."""
        return f"{self.host}:{self.port}"

    @property
    def addresses(self) -> Iterator[str]:
        """For clients, one of its own for each: nginx counts what an address writes."""
        return addresses

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.authority}"

    @property
    def certificate(self) -> str:
        """The file of nginx's, where there is TLS."""
        return self.environment["TLS_CERTIFICATE"] if self.environment.get("TLS") == "on" else ""

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """For clients: it trusts that certificate, for what it names, and no other."""
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else None

    def client(self, timeout: float = 30, address: str = "", **options: Any) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address or next(self.addresses), verify=self.tls or True)
        return httpx.Client(base_url=self.url, transport=transport, timeout=timeout, **options)

    def connect(self) -> socket.socket:
        """A connection with nothing said on it yet."""
        connection = socket.create_connection((self.host, self.port), 30, source_address=(next(self.addresses), 0))
        return self.tls.wrap_socket(connection, server_hostname=self.host) if self.tls else connection

    def inside(self) -> httpx.Client:
        """nginx's socket for whoever runs the stack: /site-a/health/ready, /api-a-0/health/stats."""
        return httpx.Client(base_url="http://inside", transport=httpx.HTTPTransport(uds=f"{self.seen}/run/nginx.sock"))

    # What is in it

    @property
    def cores(self) -> int:
        """Workers of each instance, as nginx was told."""
        [workers] = re.findall(r"worker_processes (\d+);", (self.seen / "nginx/nginx.conf").read_text())
        return int(workers)

    @property
    def members(self) -> list[str]:
        """Those that nginx balances across: site-a, api-a-0, …"""
        return ["site-a", "site-b", *(f"api-{instance}-{slot}" for instance in "ab" for slot in range(self.cores))]

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 60
        with self.inside() as inside:
            while {inside.get(f"/{member}/health/ready").status_code for member in self.members} != {200}:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def api_stats(self) -> dict[str, dict[str, Any]]:
        """What each api process says of itself, by `api-a-0`."""
        with self.inside() as inside:
            return {
                member: inside.get(f"/{member}/health/stats").json()
                for member in self.members
                if member.startswith("api")
            }

    @abstractmethod
    def setting(self, name: str) -> str:
        """A variable as the apps have it."""

    @abstractmethod
    def read_logs(self, app: str) -> list[list[str]]:
        """The lines of each log of an app, or of nginx."""

    @abstractmethod
    def manage(self, *command: str) -> str:
        """Runs the site's manage.py with the stack's settings, as the user who runs the stack; its output."""

    @abstractmethod
    def administer(self, statement: str) -> None:
        """Runs an SQL statement as PostgreSQL's superuser, outside of the stack's database."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """The pid of each master: nginx, site-a, …"""

    @abstractmethod
    def stop(self, instance: str) -> None:
        """`site-a`, say."""

    @abstractmethod
    def start(self, instance: str) -> None:
        """Does not wait until it is ready."""

    def kill(self, instance: str) -> None:
        """As a crash would be: not by whoever runs it."""
        os.kill(self.pids()[instance], signal.SIGKILL)


class Stack(AnyStack):
    """On the machine itself."""

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        # `make up` would install it.
        program("nginx", "nginx libnginx-mod-http-brotli-static")
        super().__init__(directory, {"STACK": "native"} | dict(variables), project)

    def down(self) -> None:
        """`make down`, which must leave no process and no socket."""
        processes = self.processes()
        done = self.make("down")
        assert done.returncode == 0, done.stdout
        left = [process for process in processes if process.is_running()] + mentioning(self.var)
        assert not left, left
        assert not [path for path in self.var.rglob("*") if path.is_socket()]

    @property
    def port(self) -> int:
        enter(HOME)
        return int(self.environment["PORT"])

    @property
    def plain_port(self) -> int:
        enter(HOME)
        return int(self.environment["PLAIN_PORT"])

    @property
    def seen(self) -> Path:
        return self.var

    def processes(self) -> list[psutil.Process]:
        """supervisord and everything below it, and nginx, which is a daemon."""
        masters = [
            psutil.Process(int((self.var / file).read_text()))
            for file in ("supervisor/supervisord.pid", "run/nginx.pid")
        ]
        return [process for master in masters for process in (master, *master.children(recursive=True))]

    def pids(self) -> dict[str, int]:
        supervisor = self.supervisor
        pids = {each: supervisor.getProcessInfo(supervisord.program(each))["pid"] for each in INSTANCES}
        return pids | {"nginx": int((self.var / "run/nginx.pid").read_text())}

    @property
    def supervisor(self) -> Any:
        return supervisord.connect(self.var)

    def stop(self, instance: str) -> None:
        self.supervisor.stopProcess(supervisord.program(instance))

    def start(self, instance: str) -> None:
        self.supervisor.startProcess(supervisord.program(instance), False)

    def setting(self, name: str) -> str:
        return dotenv_values(self.var / "environment")[name] or ""

    def read_logs(self, app: str) -> list[list[str]]:
        names = ["access", "nginx"] if app == "nginx" else [f"{app}-a", f"{app}-b"]
        return [(self.var / f"log/{name}.log").read_text().splitlines() for name in names]

    def manage(self, *command: str) -> str:
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

    def administer(self, statement: str) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(statement.encode())


class ComposeStack(AnyStack):
    """In containers, of a project of its own.

    Clients are in nginx's network, which needs root: through docker's port they would all have the bridge's address.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        program("docker", "docker.io")
        for asked, missing in (("version", "no Docker engine answers"), ("compose", "docker has no `docker compose`")):
            if subprocess.run(["docker", asked], capture_output=True, check=False).returncode:
                raise Missing(missing)
        if os.geteuid() != 0:
            raise Missing("root, whom the tests of the stack in containers need to enter nginx's network")
        self.name = f"tandem-{os.urandom(4).hex()}"
        own = {"STACK": "compose", "COMPOSE_PROJECT_NAME": self.name}
        super().__init__(directory, own | dict(variables), project)
        self.known_nginx = 0, 0

    def down(self) -> None:
        """`make destroy`, which must leave no container, volume and network; and away with the images."""
        done = self.make("destroy", answer=f"{self.name}\n")
        assert done.returncode == 0, done.stdout
        of_it = f"--filter=label=com.docker.compose.project={self.name}"
        for kind in ("container", "volume", "network"):
            left = docker(kind, "ls", "--quiet", of_it, *(["--all"] if kind == "container" else []))
            assert not left, f"{kind} {left}"
        if images := docker("image", "ls", "--quiet", "--no-trunc", of_it).split():
            docker("image", "rm", "--force", *set(images))

    @property
    def port(self) -> int:
        enter(f"/proc/{self.nginx_pid}/ns/net")
        return 8000

    @property
    def plain_port(self) -> int:
        enter(f"/proc/{self.nginx_pid}/ns/net")
        return 8080

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self.nginx_pid}/root/srv/app/var")

    @property
    def nginx_pid(self) -> int:
        """The engine is asked only when the one that was known has gone."""
        pid, network = self.known_nginx
        if not pid or network_of(f"/proc/{pid}/ns/net") != network:
            pid = self.container("nginx")["State"]["Pid"]
            self.known_nginx = pid, network_of(f"/proc/{pid}/ns/net")
        return pid

    def compose(self, *words: str) -> None:
        """Runs `docker compose`, without what `make` does."""
        command = ["docker", "compose", "--env-file", self.environment["ENV_FILE"], *words]
        with outside():
            done = subprocess.run(
                command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each service's container; the newest, where there are two."""
        ids = docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={self.name}").split()
        found = json.loads(docker("inspect", *reversed(ids))) if ids else []
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}

    def container(self, service: str) -> dict[str, Any]:
        return self.containers()[service]

    def run(self, service: str, *command: str) -> str:
        """What a command says in a service's container."""
        return docker("exec", self.container(service)["Id"], *command)

    def pids(self) -> dict[str, int]:
        found = self.containers()
        pids = {name: found[name]["State"]["Pid"] for name in ("nginx", "site-a", "site-b")}
        for process in psutil.Process(found["api"]["State"]["Pid"]).children():
            # One that has just ended has no environment.
            with suppress(psutil.Error):
                if instance := process.environ().get("INSTANCE"):
                    pids[f"api-{instance}"] = process.pid
        return pids

    def stop(self, instance: str) -> None:
        if instance.startswith("api"):
            self.run("api", *SUPERVISORCTL, "stop", supervisord.program(instance))
        else:
            docker("stop", self.container(instance)["Id"])

    def start(self, instance: str) -> None:
        if instance.startswith("api"):
            # supervisorctl itself waits for startsecs.
            start = ("start", supervisord.program(instance))
            docker("exec", "--detach", self.container("api")["Id"], *SUPERVISORCTL, *start)
        else:
            docker("start", self.container(instance)["Id"])

    def setting(self, name: str) -> str:
        return self.run("site-a", "sh", "-c", f"cat /run/secrets/{name.lower()} 2>/dev/null || printenv {name}").strip()

    def read_logs(self, app: str) -> list[list[str]]:
        services = ["site-a", "site-b"] if app == "site" else [app]
        return [docker("logs", self.container(service)["Id"]).splitlines() for service in services]

    def manage(self, *command: str) -> str:
        return self.run("site-a", "python", "django_site/manage.py", *command)

    def administer(self, statement: str) -> None:
        psql = ("psql", "--quiet", "--username=tandem", "--dbname=postgres")
        self.run("postgres", *psql, f"--command={statement}")


def docker(*command: str) -> str:
    """What a docker command prints, what it prints to stderr included when it is `logs`."""
    stderr = subprocess.STDOUT if command[0] == "logs" else subprocess.PIPE
    done = subprocess.run(["docker", *command], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def network_of(path: str) -> int:
    """The number of the network that is at a path in /proc; 0 if nobody is there any more."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0


def enter(network: str) -> None:
    """From now on this thread, and those that it starts, make their connections in this network."""
    if network_of(network) == network_of("/proc/thread-self/ns/net"):
        return
    file = os.open(network, os.O_RDONLY)
    try:
        if libc.setns(file, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {network}")
    finally:
        os.close(file)


@contextmanager
def outside() -> Iterator[None]:
    """In the block, this thread is in the network that it was started in."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    enter(HOME)
    try:
        yield
    finally:
        enter(f"/proc/self/fd/{before}")
        os.close(before)


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
def edited(stack: AnyStack, path: str, old: str, new: str) -> Iterator[None]:
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


@contextmanager
def running(kind: type[Kind], variables: Mapping[str, str] = {}, project: Path = PROJECT) -> Iterator[Kind]:
    """A stack of one's own, for the block."""
    with directory() as files:
        stack = kind(files, (database() if kind is Stack else {}) | dict(variables), project)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


@pytest.fixture(scope="session")
def kind(pytestconfig: pytest.Config) -> type[AnyStack]:
    """The kind of stack that this run is for: --stack."""
    return ComposeStack if pytestconfig.getoption("stack") == "compose" else Stack


@pytest.fixture(scope="session")
def native() -> Iterator[Stack]:
    with running(Stack) as stack:
        yield stack


@pytest.fixture(scope="session")
def compose() -> Iterator[ComposeStack]:
    with running(ComposeStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> AnyStack:
    """The one that most tests share: they leave it as they found it, but for the data."""
    found: AnyStack = request.getfixturevalue(pytestconfig.getoption("stack"))
    return found
