"""The stack in containers: Docker's engine and compose, and how an app is rolled there."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy import supervisord
from deploy.env import ENV_FILE, PROJECT, VAR, make_env_file, setting
from deploy.instance import INSTANCES, of
from deploy.native.preflight import check_disk, check_port, ok
from deploy.roll import roll
from deploy.terminal import Failed, readable, step, wait_ready

PARTS = ("nginx", *INSTANCES)
SECRETS = VAR / "secrets"
# And its role: docker-compose.yml.
DATABASE = "tandem"
# The configuration that supervisorctl needs is in the api's environment and files.
SUPERVISORCTL = ("supervisorctl", "-c", "deploy/supervisor/supervisord.conf")


def engine() -> tuple[str, str]:
    """Versions of the Docker engine that answers and of compose, empty if one does not; and the same in words."""
    if not shutil.which("docker"):
        return "", "there is no docker command"
    version = output("docker", "version", "--format", "{{.Server.Version}}", timeout=10)
    if not version:
        return "", "no Docker engine answers"
    compose = output("docker", "compose", "version", "--short", timeout=10)
    if not compose:
        return "", f"Docker {version} answers, but has no `docker compose`"
    return f"Docker {version}, compose {compose}", f"Docker {version} answers"


def output(*command: str, timeout: float | None = None) -> str:
    """What a command prints; empty when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    return "" if done.returncode else done.stdout.strip()


def preflight(running: bool) -> None:
    """Looks at the machine, and gets the images; raises Failed when they cannot be had."""
    print("Preflight", flush=True)
    versions, why_not = engine()
    if not versions:
        raise Failed(why_not)
    ok(versions)
    check_port(own=running)
    check_disk()
    if make_env_file():
        print(f"Secrets made in {ENV_FILE}: keep it, and keep it to yourself.")
    print("Images", flush=True)
    stack = Stack()
    with step("PostgreSQL, Redis"):
        stack.compose("pull", "--quiet", "--policy=missing", "postgres", "redis")
    with step("nginx, site, api (about a minute the first time)"):
        # Not all at once: the api's finds the layers that both have.
        stack.compose("build", "--quiet", "migrate")
        stack.compose("build", "--quiet")


def secret_files() -> dict[str, str]:
    """What containers get as secrets, by name of file; raises Failed for one that is not to be had."""
    postgres, redis = setting("POSTGRES_PASSWORD"), setting("REDIS_PASSWORD")
    files = {
        "secret_key": setting("SECRET_KEY"),
        "token_keys": setting("TOKEN_KEYS"),
        "postgres_password": postgres,
        "database_url": f"postgresql://{DATABASE}:{quote(postgres, safe='')}@postgres:5432/{DATABASE}",
        "redis_url": f"redis://apps:{quote(redis, safe='')}@redis:6379/0",
        # https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
        "redis_users": f"user default on nopass -@all +ping\nuser apps on >{redis} ~* &* +@all\n",
    }
    if setting("TLS") == "on":
        for name in ("TLS_CERTIFICATE", "TLS_KEY"):
            try:
                files[name.lower()] = Path(setting(name)).read_text()
            except OSError as error:
                raise Failed(f"{name}: {error}") from None
    return files


def write_secrets(files: dict[str, str]) -> None:
    """Anybody may read them, since the containers' users are not this machine's; only their owner may get to them.

    Each is written in place: a container sees the file that it was started with.
    """
    SECRETS.mkdir(parents=True, exist_ok=True)
    SECRETS.chmod(0o700)
    for name, content in files.items():
        (SECRETS / name).write_text(content)
        (SECRETS / name).chmod(0o644)


class Stack:
    """The project's containers."""

    # What docker-compose.yml reads beside the settings' file.
    environment = {**os.environ, "VAR_DIR": str(VAR)}

    def __init__(self, *files: str, dev: bool = False) -> None:
        """`files` are compose's; the project's own when there are none, with `dev` those of `make dev`."""
        self.dev = dev
        if not files:
            more = {"compose.tls.yml": setting("TLS") == "on", "compose.dev.yml": dev}
            files = ("docker-compose.yml", *(file for file, wanted in more.items() if wanted))
        self.files = [f"--file={file}" for file in files]

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """As compose understands it, https://docs.docker.com/reference/compose-file/."""
        found: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        return found

    @property
    def project(self) -> str:
        return str(self.configuration["name"])

    def command(self, *words: str) -> list[str]:
        settings = ["--env-file", str(ENV_FILE)] if ENV_FILE.exists() else []
        return ["docker", "compose", "--project-directory", str(PROJECT), *settings, *self.files, *words]

    def compose(self, *words: str, stdin: str = "") -> str:
        """Runs `docker compose` with these words; its output, or Failed with the end of that."""
        done = subprocess.run(
            self.command(*words), env=self.environment, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
            raise Failed(f"docker compose {words[0]} failed:\n{end}")
        return done.stdout

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What the engine says of a service's containers, the oldest first."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        # Not those of `docker compose run`.
        labels.append("com.docker.compose.oneoff=False")
        ids = output("docker", "ps", "--all", "--quiet", *(f"--filter=label={label}" for label in labels)).split()
        found: list[dict[str, Any]] = json.loads(output("docker", "inspect", *ids)) if ids else []
        return sorted(found, key=lambda container: str(container["Created"]))

    def container(self, part: str) -> dict[str, Any] | None:
        """The one that a part runs in; of two of the api's, the newer."""
        found = self.containers(service(part))
        return found[-1] if found else None

    def running(self, part: str) -> bool:
        return any(container["State"]["Running"] for container in self.containers(service(part)))

    def runs(self, instance: str) -> bool:
        if instance.startswith("site"):
            return self.running(instance)
        return any(
            program_states(container).get(supervisord.program(instance)) in ("RUNNING", "STARTING")
            for container in self.containers("api")
        )

    def start(self, name: str) -> None:
        """A service whose container somebody stopped, or killed by `docker kill`: the engine leaves it alone then."""
        for container in self.containers(name):
            output("docker", "start", container["Id"])
        if not self.containers(name):
            self.compose("up", "--detach", "--no-deps", name)

    def ask(self, *words: str) -> tuple[bool, str]:
        """Runs deploy.instance in nginx's container, which has the instances' sockets and outlives them."""
        nginx = self.container("nginx")
        if not nginx or nginx["State"]["Status"] != "running":
            return False, "nginx does not run"
        command = ["docker", "exec", nginx["Id"], "python3", "-m", "deploy.instance", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    # Changes

    @cached_property
    def hashes(self) -> set[str]:
        """Of the services' configurations, as compose labels their containers with.

        With --no-deps it labels them with the hash of one that has no dependencies.
        """
        services = self.configuration["services"]
        alone = {
            name: {key: value for key, value in each.items() if key != "depends_on"} for name, each in services.items()
        }
        lines = self.compose("config", "--hash", "*")
        lines += Stack("-").compose("config", "--hash", "*", stdin=json.dumps(self.configuration | {"services": alone}))
        return set(lines.split())

    def is_current(self, container: dict[str, Any]) -> bool:
        """It has today's image and configuration."""
        image = output("docker", "image", "inspect", "--format", "{{.Id}}", container["Config"]["Image"])
        configuration = container["Config"]["Labels"]["com.docker.compose.config-hash"]
        return container["Image"] == image and configuration in self.hashes

    def changed(self, name: str) -> bool:
        """A service that does not run as it would be started now."""
        found = self.containers(name)
        return not found or not all(self.is_current(container) for container in found)

    # A roll (deploy/roll.py)

    def is_in(self, instance: str) -> bool:
        return self.ask("in?", instance)[0]

    def why_not_ready(self, part: str) -> str:
        ready, reason = self.ask("ready", part)
        return "" if ready else reason or "no answer"

    def serves(self, instance: str) -> bool:
        return self.is_in(instance) and not self.why_not_ready(instance)

    def take_out(self, instance: str) -> None:
        self.ask("out", instance)

    def take_back(self, instance: str) -> None:
        self.ask("in", instance)

    def wait_idle(self, instance: str) -> None:
        self.ask("idle", instance)

    def restart(self, instance: str) -> None:
        if instance.startswith("site"):
            self.compose("up", "--detach", "--no-deps", "--force-recreate", instance)
        else:
            self.restart_in_api(instance)

    def restart_in_api(self, instance: str) -> None:
        """Both instances of the api are in one container. A new one takes them over one after the other.

        In it, an instance waits for its namesake in the old one to end (deploy/gunicorn/api.py), and starts then.
        """
        program = supervisord.program(instance)
        containers = self.containers("api")
        if not any(map(self.is_current, containers)):
            scale = f"api={len(containers) + 1}"
            self.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", scale, "api")
            containers = self.containers("api")
        old = [container for container in containers if not self.is_current(container)]
        # The oldest last: it serves, and those between are of rolls that failed, and would take over.
        for container in reversed(old or containers):
            output("docker", "exec", container["Id"], *SUPERVISORCTL, "stop", program)
        [new] = [container for container in containers if container not in old]
        # supervisorctl would wait until it has run for startsecs.
        output("docker", "exec", "--detach", new["Id"], *SUPERVISORCTL, "start", program)
        for container in old:
            if not any(state in ("RUNNING", "STARTING") for state in program_states(container).values()):
                remove(container)

    def wait_ready(self, part: str) -> None:
        """Raises Failed, with the end of its log, if it cannot stay up or is not ready by the deadline."""
        first = self.container(part)

        def ends() -> bool:
            container = self.container(part)
            return not container or not first or cannot_stay_up(container, part, first["RestartCount"])

        wait_ready(part, self.why_not_ready, ends, lambda: tail(self.container(part)))

    def roll(self, app: str) -> Iterator[str]:
        """Restarts the instances of an app, and yields each when it is back; raises Failed at one that is not ready."""
        return roll(self, of(app))


def service(part: str) -> str:
    """The service that runs a part: `api-a` is in `api`."""
    return "api" if part.startswith("api") else part


def program_states(container: dict[str, Any]) -> dict[str, str]:
    """What supervisord says in the api's container: {"tandem-api:a": "RUNNING", …}."""
    # It exits with 3 when one does not run.
    command = ["docker", "exec", container["Id"], *SUPERVISORCTL, "status", supervisord.program("api-*")]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return {words[0]: words[1] for line in lines if len(words := line.split()) > 1}


def cannot_stay_up(container: dict[str, Any], part: str, restarts: int) -> bool:
    """`restarts`: how often the engine had started it again before."""
    state = container["State"]
    if state["Restarting"] or state["Status"] in ("exited", "dead") or container["RestartCount"] > restarts:
        return True
    if not part.startswith("api"):
        return False
    return program_states(container).get(supervisord.program(part)) in ("BACKOFF", "EXITED", "FATAL")


def remove(container: dict[str, Any]) -> None:
    """Stops a container, which then finishes what it holds, and removes it."""
    output("docker", "stop", container["Id"])
    output("docker", "rm", container["Id"])


def tail(container: dict[str, Any] | None) -> str:
    if not container:
        return "(it is not there)"
    # A server writes some thirty before it comes to a fault: of one just started again, that of the time before.
    command = ["docker", "logs", "--tail", "50", container["Id"]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "\n".join(map(readable, done.stdout.splitlines())) or "(empty)"
