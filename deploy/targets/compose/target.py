"""The stack in containers: Docker's engine and compose, and how to roll an app there."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

from deploy.core.apps import APPS, INSTANCES, Instance
from deploy.core.console import LOG_END, Failed, ok, output, readable_end, step
from deploy.core.preflight import check_disk, check_port
from deploy.core.roll import COMMAND_READY_AFTER, Target
from deploy.core.settings import ENV_FILE, PROJECT, VAR, make_env_file

from . import generate

# Why a container that is not outdated has to start.
STOPPED = "it does not run"


@cache
def engine() -> tuple[str, str]:
    """Return the versions of Docker and compose, empty if one of them does not work, and the reason in words."""
    if not shutil.which("docker"):
        return "", "there is no docker command"
    version = output("docker", "version", "--format", "{{.Server.Version}}", timeout=10)
    if not version:
        return "", "no Docker engine answers"
    compose = output("docker", "compose", "version", "--short", timeout=10)
    if not compose:
        return "", f"Docker {version} answers, but has no `docker compose`"
    return f"Docker {version}, compose {compose}", f"Docker {version} answers"


def is_running() -> bool:
    return bool(engine()[0]) and ComposeTarget().is_running()


def check_machine(running: bool) -> None:
    """Check the machine, and get the images. Raises Failed if they cannot be had."""
    print("Preflight", flush=True)
    versions, why_not = engine()
    if not versions:
        raise Failed(why_not)
    ok(versions)
    check_port(own=running)
    check_disk()
    make_env_file()
    generate.write()
    target = ComposeTarget()
    print("Images", flush=True)
    with step(", ".join(target.core_services)):
        target.compose("pull", "--quiet", "--policy=missing", *target.core_services)
    instances = [app.instances[0].name for app in APPS.values()]
    with step(f"nginx, {', '.join(APPS)} (about a minute the first time)"):
        # The images share layers, which the engine would build for each if it built all at once.
        target.compose("build", "--quiet", instances[0])
        target.compose("build", "--quiet", "nginx", *instances)


class ComposeTarget(Target):
    """The stack's containers. `generate.write` must have written its services."""

    # docker-compose.yml reads VAR_DIR beside the settings.
    environment = {**os.environ, "VAR_DIR": str(VAR)}

    def __init__(self) -> None:
        # Compose reads every file before any command, and fails if one is missing.
        if generate.is_stale():
            generate.write()

    def command(self, *words: str) -> list[str]:
        settings = ["--env-file", str(ENV_FILE)] if ENV_FILE.exists() else []
        generated = ["--file", str(generate.SERVICES)] if generate.SERVICES.exists() else []
        files = ["--project-directory", str(PROJECT), *settings, "--file", "docker-compose.yml", *generated]
        return ["docker", "compose", *files, *words]

    def compose(self, *words: str) -> str:
        """Run `docker compose`. Return its output. Raises Failed with the end of it."""
        done = subprocess.run(
            self.command(*words), cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
            raise Failed(f"docker compose {words[0]} failed:\n{end}")
        return done.stdout

    @cached_property
    def project(self) -> str:
        return str(json.loads(self.compose("config", "--format", "json"))["name"])

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The hash of each service's configuration. Compose labels containers with it."""
        return dict(line.split() for line in self.compose("config", "--hash", "*").splitlines())

    @property
    def core_services(self) -> list[str]:
        """All services but nginx and the instances."""
        return [name for name in self.hashes if name != "nginx" and name not in INSTANCES]

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine says of the container of each service, also of services that were removed."""
        # Not the containers of `docker compose run`.
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        ids = output("docker", "ps", "--all", "--quiet", *(f"--filter=label={label}" for label in labels)).split()
        found = json.loads(output("docker", "inspect", *ids) or "[]") if ids else []
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}

    def container(self, service: str) -> dict[str, Any] | None:
        return self.containers().get(service)

    def is_running(self) -> bool:
        return any(container["State"]["Running"] for container in self.containers().values())

    def why_outdated(self, container: dict[str, Any] | None) -> str:
        """Return how a service's container differs from what `up` would start; empty if it does not."""
        if not container:
            return "it has no container"
        labels = container["Config"]["Labels"]
        if labels["com.docker.compose.config-hash"] != self.hashes.get(labels["com.docker.compose.service"]):
            return "its settings changed"
        if container["Image"] != image_id(container["Config"]["Image"]):
            return "its image changed"
        return "" if container["State"]["Running"] else STOPPED

    def start(self, *services: str, recreate: bool = False) -> None:
        """Create or start containers, and replace those that are outdated. `recreate` replaces all."""
        self.compose("up", "--detach", "--no-deps", *(["--force-recreate"] if recreate else []), *services)

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        words = ["docker", "exec", f"{self.project}-{service}-1", *command]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def probe(self, where: str, command: str, service: str) -> subprocess.CompletedProcess[str]:
        return self.run_in(where, "python3", "-m", "deploy.core.probe", command, service)

    def remove_unregistered(self) -> bool:
        """Stop and remove the containers of services that are no longer configured. Return whether there were any."""
        found = {name: each for name, each in self.containers().items() if name not in self.hashes}
        for name, container in found.items():
            self.probe("nginx", "out", name)
            # The container's own image still has the instance in its registry.
            self.probe(name, "idle", name)
            output("docker", "stop", container["Id"])
            output("docker", "rm", container["Id"])
            self.probe("nginx", "forget", name)
            print(f"  · {name} is no longer configured: removed", flush=True)
        return bool(found)

    def in_rotation(self) -> set[str]:
        """Return the names of the instances in rotation. Their links are in a volume that nginx's container has."""
        done = self.run_in("nginx", "ls", "var/run/upstream")
        return set() if done.returncode else set(done.stdout.split())

    def is_in_rotation(self, instance: Instance) -> bool:
        return instance.name in self.in_rotation()

    def take_out_of_rotation(self, instance: Instance) -> None:
        self.probe("nginx", "out", instance.name)

    def put_in_rotation(self, instance: Instance) -> None:
        self.probe("nginx", "in", instance.name)

    def wait_until_idle(self, instance: Instance) -> None:
        self.probe(instance.name, "idle", instance.name)

    def restart(self, instance: Instance) -> None:
        self.start(instance.name, recreate=True)

    def replace_nginx(self) -> None:
        """A second passes without nginx."""
        with step("new container"):
            self.start("nginx", recreate=True)
            self.wait_until_ready("nginx")

    def why_not_ready(self, service: str) -> str:
        if service != "nginx" and not (service in INSTANCES and INSTANCES[service].server.listens):
            return self.why_not_running(service)
        done = self.probe(service, "ready", service)
        return done.stdout.strip() or "no answer" if done.returncode else ""

    def why_not_running(self, service: str) -> str:
        container = self.container(service)
        if not container:
            return "no container"
        state = container["State"]
        if not state["Running"] or state["Restarting"]:
            return f"its container is {state['Status']}"
        if state.get("Health", {}).get("Status") == "unhealthy":
            return "its health check fails"
        started = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC)
        if datetime.now(UTC) - started < timedelta(seconds=COMMAND_READY_AFTER):
            return f"it has run for less than {COMMAND_READY_AFTER} s"
        return ""

    def stopping_check(self, service: str) -> Callable[[], bool]:
        first = self.container(service)
        restarts = first["RestartCount"] if first else 0

        def has_stopped() -> bool:
            container = self.container(service)
            if not container or container["RestartCount"] > restarts:
                return True
            state = container["State"]
            return bool(state["Restarting"] or state["Status"] in ("exited", "dead"))

        return has_stopped

    def log(self, service: str) -> str:
        container = self.container(service)
        if not container:
            return "(no container)"
        command = ["docker", "logs", "--tail", str(LOG_END), container["Id"]]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return readable_end(done.stdout)


@cache
def image_id(name: str) -> str:
    return output("docker", "image", "inspect", "--format", "{{.Id}}", name)
