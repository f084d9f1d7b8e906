"""A running stack, as the tests see it on every target. `make up` starts it with files and ports of its own."""

import os
import re
import signal
import socket
import ssl
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from dotenv import dotenv_values

from deploy.core.apps import App, Instance, load
from deploy.core.settings import has_address
from tests.environment import PROJECT, environment
from tests.servers import free_port

from .network import HOME, addresses, enter, outside

# Variables of pytest's own environment. A stack gets only what `make up` gives it.
SETTINGS = {*dotenv_values(PROJECT / ".env.example"), *environment("")}
# Flags of a make that runs pytest. They are not for the make that is tested.
MAKE = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}


class Stack(ABC):
    """One stack with its files in `directory`, started by the Makefile of `project` with `variables`."""

    # Whether a failed deploy brings back the release before. Elsewhere the failed instance stays out of rotation.
    rolls_back = False
    # Multiplies the pauses of the readers in tests/chaos/load.py. Where a release needs both cores, for Ansible or for
    # images, the full load makes it take three times as long.
    slower = 1.0

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        self.project = project
        self.var = directory / "var"
        own = {"VAR_DIR": str(self.var), "ENV_FILE": str(directory / "env"), "PORT": str(free_port())}
        outer = {name: value for name, value in os.environ.items() if name not in SETTINGS | MAKE}
        self.environment = outer | own | {"DEBUG_UPSTREAM": "on"} | dict(variables)

    def make(self, target: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `make TARGET`, one word or more. `answer` is its stdin; `stdout` of the result includes its stderr."""
        with outside():
            return subprocess.run(
                ["make", "--no-print-directory", *target.split()],
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
        """Run `make up`. Return its output."""
        done = self.make("up")
        assert done.returncode == 0, done.stdout
        return done.stdout

    def deploy(self) -> subprocess.CompletedProcess[str]:
        """Make the project's files, as they are now, the running release."""
        return self.make("up")

    @abstractmethod
    def down(self) -> None:
        """Stop the stack, and check that nothing of it is left."""

    # Clients

    @property
    @abstractmethod
    def port(self) -> int:
        """nginx's port on `host`. After a call, this thread connects in nginx's network."""

    @property
    @abstractmethod
    def plain_port(self) -> int:
        """With TLS, the port that redirects to HTTPS."""

    @property
    @abstractmethod
    def seen(self) -> Path:
        """nginx's var/, as this process can open it."""

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def authority(self) -> str:
        """Host and port, as in a browser's address bar."""
        return f"{self.host}:{self.port}"

    @property
    def ipv6(self) -> str:
        """Host and port over IPv6. After a call, this thread connects in the network in which they are nginx's."""
        enter(HOME)
        if not has_address("::1"):
            pytest.skip("this machine has no IPv6")
        return f"[::1]:{self.environment['PORT']}"

    @property
    def addresses(self) -> Iterator[str]:
        """Addresses for clients. nginx limits rates by address, so each client gets its own."""
        return addresses

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.authority}"

    @property
    def certificate(self) -> str:
        """The file with nginx's certificate; empty without TLS."""
        return self.environment["TLS_CERTIFICATE"] if self.environment.get("TLS") == "on" else ""

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """A TLS context for clients. It trusts only that certificate, for the names in it."""
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else None

    def client(self, timeout: float = 30, address: str = "", **options: Any) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address or next(self.addresses), verify=self.tls or True)
        return httpx.Client(base_url=self.url, transport=transport, timeout=timeout, **options)

    def connect(self) -> socket.socket:
        """Open a connection, and send nothing."""
        connection = self.connect_plain()
        return self.tls.wrap_socket(connection, server_hostname=self.host) if self.tls else connection

    def connect_plain(self) -> socket.socket:
        """Open a connection without TLS, and send nothing."""
        return socket.create_connection((self.host, self.port), 30, source_address=(next(self.addresses), 0))

    def inside(self) -> httpx.Client:
        """A client of nginx's private socket: /site-a/health/ready, /api-a-0/health/stats."""
        return httpx.Client(base_url="http://inside", transport=httpx.HTTPTransport(uds=f"{self.seen}/run/nginx.sock"))

    # Mail

    # The port of EMAIL_URL, if that is set when the stack starts.
    mail_port = 0

    @property
    def outward(self) -> str:
        """This machine's address, as the apps connect to it."""
        return "127.0.0.1"

    def send_mail_to(self, port: int) -> None:
        """Make the mail server at this port of this machine the stack's."""
        self.environment["EMAIL_URL"] = f"smtp://{self.outward}:{port}"
        # Only the workers that send mail get this setting.
        assert re.findall(r"^Roll (\w+)", self.up(), re.MULTILINE) == ["jobs"]

    # Services and logs

    @property
    def apps(self) -> dict[str, App]:
        """The registry of its project, which a test may have edited."""
        return load(self.project / "deploy/apps.toml")

    @property
    def instances(self) -> dict[str, Instance]:
        return {instance.name: instance for app in self.apps.values() for instance in app.instances}

    def instances_of(self, app: str) -> list[str]:
        return [instance.name for instance in self.apps[app].instances]

    @property
    def cores(self) -> int:
        """Workers of each instance, from nginx's configuration."""
        [workers] = re.findall(r"worker_processes (\d+);", (self.seen / "nginx/nginx.conf").read_text())
        return int(workers)

    def sockets(self, *instances: str) -> list[str]:
        """Return the names of the sockets that nginx connects to, of these instances or of all: site-a, api-a-0, …"""
        known = self.instances
        return [name for each in instances or known for name in known[each].sockets(self.cores)]

    def wait_ready(self) -> None:
        """Return when every socket answers its readiness check with 200."""
        deadline = time.monotonic() + 60
        with self.inside() as inside:
            while {inside.get(f"/{name}/health/ready").status_code for name in self.sockets()} != {200}:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    @abstractmethod
    def setting(self, name: str) -> str:
        """Return a setting as the apps have it."""

    @abstractmethod
    def read_logs(self, app: str) -> list[list[str]]:
        """Return the lines of each log of an app, or of nginx."""

    @abstractmethod
    def manage(self, *command: str) -> str:
        """Run Django's manage.py with the stack's settings, as the user that runs the stack. Return its output."""

    @abstractmethod
    def administer(self, statement: str) -> None:
        """Run an SQL statement as PostgreSQL's superuser, outside the stack's database."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Return the pid of nginx's master and of each instance's master, by service; 0 if it does not run."""

    @abstractmethod
    def stop(self, instance: str) -> None: ...

    @abstractmethod
    def start(self, instance: str) -> None:
        """Start an instance. Return before it is ready."""

    @abstractmethod
    def exit_status(self, instance: str) -> int:
        """Return the exit status of an instance that was stopped."""

    def outage(self, service: str, how: str) -> AbstractContextManager[None]:
        """For the block, `database` or `redis` is `stopped`, `frozen` or `disconnected`. Skips the test otherwise."""
        pytest.skip(f"this target has no {service} that can be {how}")

    def kill(self, instance: str) -> None:
        """Kill an instance's master, as a crash would."""
        os.kill(self.pids()[instance], signal.SIGKILL)
