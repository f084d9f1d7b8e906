"""The stack in containers, as a compose project of its own.

Clients enter nginx's network, which needs root: through Docker's published port all would have the bridge's address.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.environment import PROJECT
from tests.servers import Missing, program

from .base import Stack
from .network import enter, network_of, outside


class ComposeStack(Stack):
    slower = 4.0

    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        program("docker", "docker.io")
        for command, missing in (("version", "a Docker engine that answers"), ("compose", "`docker compose`")):
            if subprocess.run(["docker", command], capture_output=True, check=False).returncode:
                raise Missing(missing)
        if os.geteuid() != 0:
            raise Missing("root, which the tests of the stack in containers need to enter nginx's network")
        self.name = f"tandem-{os.urandom(4).hex()}"
        own = {"STACK": "compose", "COMPOSE_PROJECT_NAME": self.name}
        super().__init__(directory, own | dict(variables), project)
        self.known_nginx = 0, 0

    def down(self) -> None:
        """Run `make destroy`, check that it leaves no container, volume or network, and remove the images."""
        done = self.make("destroy", answer=f"{self.name}\n")
        assert done.returncode == 0, done.stdout
        of_it = f"--filter=label=com.docker.compose.project={self.name}"
        for kind in ("container", "volume", "network"):
            left = docker(kind, "ls", "--quiet", of_it, *(["--all"] if kind == "container" else []))
            assert not left, f"{kind} {left}"
        if images := docker("image", "ls", "--quiet", "--no-trunc", of_it).split():
            docker("image", "rm", "--force", *set(images))

    @property
    def outward(self) -> str:
        return str(self.container("jobs-a")["NetworkSettings"]["Networks"][f"{self.name}_out"]["Gateway"])

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
        """The pid of nginx's master. Docker is asked only when the known one has ended."""
        pid, network = self.known_nginx
        if not pid or network_of(f"/proc/{pid}/ns/net") != network:
            pid = self.container("nginx")["State"]["Pid"]
            self.known_nginx = pid, network_of(f"/proc/{pid}/ns/net")
        return pid

    def compose(self, *words: str) -> None:
        """Run `docker compose`, without what `make` adds."""
        files = ["--file", "docker-compose.yml", "--file", f"{self.var}/compose.json"]
        settings = ["--project-directory", str(self.project), "--env-file", self.environment["ENV_FILE"]]
        command = ["docker", "compose", *settings, *files, *words]
        variables = self.environment | {"COMPOSE_FILE": "docker-compose.yml"}
        with outside():
            done = subprocess.run(command, cwd=self.project, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what `docker inspect` says of each service's container; of the newest, if there are two."""
        ids = docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={self.name}").split()
        found = json.loads(docker("inspect", *reversed(ids))) if ids else []
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}

    def container(self, service: str) -> dict[str, Any]:
        return self.containers()[service]

    def run(self, service: str, *command: str) -> str:
        """Run a command in a service's container. Return its output."""
        return docker("exec", self.container(service)["Id"], *command)

    def pids(self) -> dict[str, int]:
        found = self.containers()
        first = {name: int(found[name]["State"]["Pid"]) for name in ("nginx", *self.instances)}
        return {name: supervised(pid) for name, pid in first.items()}

    def stop(self, instance: str) -> None:
        docker("stop", self.container(instance)["Id"])

    def start(self, instance: str) -> None:
        docker("start", self.container(instance)["Id"])

    def exit_status(self, instance: str) -> int:
        return int(self.container(instance)["State"]["ExitCode"])

    def setting(self, name: str) -> str:
        instance = next(iter(self.instances))
        return self.run(instance, "sh", "-c", f"cat /run/secrets/{name.lower()} 2>/dev/null || printenv {name}").strip()

    def read_logs(self, app: str) -> list[list[str]]:
        services = [app] if app == "nginx" else self.instances_of(app)
        return [docker("logs", self.container(service)["Id"]).splitlines() for service in services]

    def manage(self, *command: str) -> str:
        return self.run("site-a", "python", "django_site/manage.py", *command)

    @contextmanager
    def outage(self, service: str, how: str) -> Iterator[None]:
        name = {"database": "postgres"}.get(service, service)
        container, network = self.container(name)["Id"], f"{self.name}_data"
        begin, end = {
            "stopped": (["stop", container], ["start", container]),
            "frozen": (["pause", container], ["unpause", container]),
            "disconnected": (
                ["network", "disconnect", network, container],
                ["network", "connect", "--alias", name, network, container],
            ),
        }[how]
        docker(*begin)
        try:
            yield
        finally:
            docker(*end)

    def administer(self, statement: str) -> None:
        psql = ("psql", "--quiet", "--username=tandem", "--dbname=postgres")
        self.run("postgres", *psql, f"--command={statement}")


def supervised(pid: int) -> int:
    """Return the pid of a container's server: its first process, or the program below supervisord; 0 if it ended."""
    with suppress(psutil.NoSuchProcess):
        if not pid or "supervisord" not in " ".join(psutil.Process(pid).cmdline()):
            return pid
        for each in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if "fatal.py" not in " ".join(each.cmdline()):
                    return each.pid
    return 0


def docker(*command: str) -> str:
    """Run a docker command. Return its output, for `docker logs` with its stderr."""
    stderr = subprocess.STDOUT if command[0] == "logs" else subprocess.PIPE
    done = subprocess.run(["docker", *command], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
