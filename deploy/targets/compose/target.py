"""The stack in containers: Docker's engine and compose, and how to roll an app there."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any

from deploy.core import console
from deploy.core.apps import APPS, INSTANCES, SERVICES, Instance
from deploy.core.console import LOG_END, Failed, ok, output, printable, readable_end, step
from deploy.core.fingerprint import fingerprint
from deploy.core.preflight import check_disk, check_ports, stop
from deploy.core.probe import why_not_served
from deploy.core.roll import COMMAND_READY_AFTER, Target
from deploy.core.settings import ENV_FILE, HELD, OLD_NAME, PROJECT, VAR, make_env_file, replace, setting, values

from . import generate

# Why a container that is not outdated has to start.
STOPPED = "it does not run"
# What compose's labels begin with.
LABEL = "com.docker.compose"
# What `docker compose config` printed, by its arguments, its files and its environment.
configurations: dict[tuple[str, ...], str] = {}
# The images that were built last: the id of each, and the fingerprint of what it was made of.
BUILT = VAR / "images.json"
BASES = re.compile(r"^FROM[ \t]+(\S+:\S+)", re.M)


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


def git(*words: str) -> str:
    """Return what git says of the project; empty if it fails."""
    return output("git", "-c", f"safe.directory={PROJECT}", "-C", str(PROJECT), *words)


def release() -> str:
    """Return the tag of the images in a registry. Raises Failed if neither RELEASE nor git has one."""
    if tag := setting("RELEASE") or git("rev-parse", "HEAD")[:12]:
        return tag
    raise Failed("RELEASE is empty, and this is no clone of git: should be the tag that `make push` printed")


def check_machine(running: bool) -> None:
    """Check the machine, and get the images. Raises Failed if they cannot be had."""
    print("Preflight", flush=True)
    versions, why_not = engine()
    if not versions:
        raise Failed(why_not)
    ok(versions)
    target = ComposeTarget()
    own = list(target.published().values()) if running else []
    check_ports(own.__contains__)
    check_disk()
    make_env_file()
    generate.write()
    # Before the images: they have the same name too.
    if foreign := target.foreign():
        stop(foreign.partition(". ")[0], foreign.partition(". ")[2])
    print("Images", flush=True)
    official = [name for name in target.core_services if target.image(name) not in target.built]
    # Without a name, compose would pull all images.
    if not all(image_id(target.image(name)) for name in official):
        with step(", ".join(official)):
            target.compose("pull", "--quiet", "--policy=missing", *official)
            image_id.cache_clear()
    if setting("IMAGE"):
        target.pull()
    else:
        target.build()


class ComposeTarget(Target):
    """The stack's containers. `generate.write` must have written its services.

    `whole` includes services that the settings leave out.
    """

    def __init__(self, whole: bool = False) -> None:
        self.whole = whole
        # Compose reads every file before any command, and fails if one is missing.
        if generate.is_stale():
            generate.write()

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings for `docker compose`, in its environment: compose reads settings files differently."""
        given = {name: value for name, value in values().items() if name != "COMPOSE_PROJECT_NAME" or value}
        # docker-compose.yml refuses a caller without COMPOSE_FILE, who has not read of both files.
        profiles = "acme" if self.whole or given["ACME_EMAIL"] else ""
        own = {"COMPOSE_FILE": "docker-compose.yml", "COMPOSE_PROFILES": profiles}
        return {**os.environ, **given, "VAR_DIR": str(VAR)} | own

    def command(self, *words: str) -> list[str]:
        generated = ["--file", str(generate.SERVICES)] if generate.SERVICES.exists() else []
        place = ["--project-directory", str(PROJECT), "--env-file", os.devnull]
        # After a failed start, services that are elsewhere from now on may still have containers.
        profiles = ["--profile=*"] if words[0] == "down" else []
        return ["docker", "compose", *place, *profiles, "--file", "docker-compose.yml", *generated, *words]

    def compose(self, *words: str, stdout: IO[Any] | None = None) -> str:
        """Run `docker compose`. Return its output, or write it to `stdout`. Raises Failed with the end of it."""
        self.look_again()
        done = subprocess.run(
            self.command(*words),
            cwd=PROJECT,
            env=self.environment,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            pass_fds=HELD,
        )
        if done.returncode:
            end = "\n".join(map(printable, ((done.stdout or "") + done.stderr).strip().splitlines()[-30:]))
            raise Failed(f"docker compose {words[0]} failed:\n{end}")
        return done.stdout or ""

    def configuration(self, *words: str) -> str:
        """Return what `docker compose config` prints: once for the same files and settings, since it takes 0.2 s."""
        key = *words, generate.SERVICES.read_text(), *map(str, sorted(self.environment.items()))
        if key not in configurations:
            configurations[key] = self.compose("config", *words)
        return configurations[key]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, as compose reads it."""
        found: dict[str, Any] = json.loads(self.configuration("--format", "json"))
        return found

    @property
    def project(self) -> str:
        return values()["COMPOSE_PROJECT_NAME"] or OLD_NAME

    @cached_property
    def built(self) -> dict[str, str]:
        """Each image that is built from this project, and a service that runs it."""
        services = self.config["services"].items()
        return {each["image"]: name for name, each in services if "build" in each}

    def image(self, service: str) -> str:
        return str(self.config["services"][service]["image"])

    def build(self) -> None:
        """Build the images, unless nothing that they are made of changed since. Raises Failed."""
        builds = {image: self.config["services"][service]["build"] for image, service in self.built.items()}
        made_of = {image: ingredients(build) for image, build in builds.items()}
        known = json.loads(BUILT.read_text()) if BUILT.exists() else {}
        if all(known.get(image) == [image_id(image), made_of[image]] and made_of[image] for image in builds):
            ok("nothing to build")
            return
        with step(f"nginx, {', '.join(APPS)} (about a minute the first time)"):
            # They share layers, which the engine would build for each if it built all at once.
            self.compose("build", "--quiet", *[name for name in self.built.values() if name in INSTANCES][:1])
            self.compose("build", "--quiet", *self.built.values())
        image_id.cache_clear()
        replace(BUILT, json.dumps(known | {image: [image_id(image), made_of[image]] for image in builds}))

    @property
    def remote(self) -> dict[str, str]:
        """Each image that is built from this project, and its name and tag in the registry. Raises Failed."""
        first, tag = setting("IMAGE"), release()
        return {name: f"{first}-{name.removeprefix(f'{self.project}-')}:{tag}" for name in self.built}

    def push(self) -> None:
        """Push the images to the registry. Raises Failed."""
        for name, remote in self.remote.items():
            with step(remote):
                console.run("docker", "tag", name, remote)
                console.run("docker", "push", "--quiet", remote)

    def pull(self) -> None:
        """Get the images from the registry, unless the engine has them. Raises Failed.

        They get the names that they have when they are built here, so that a new tag alone replaces no container.
        """
        remote, wanted = self.remote, setting("APP_UID")
        for each in remote.values():
            with step(each):
                if not user_of(each):
                    console.run("docker", "pull", "--quiet", each)
            if (user := user_of(each)) != wanted:
                raise Failed(f"APP_UID is {wanted}, and {each} was built for {user}: should be the same")
        for name, each in remote.items():
            console.run("docker", "tag", each, name)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The hash of each service's configuration. Compose labels containers with it."""
        return dict(line.split() for line in self.configuration("--hash", "*").splitlines())

    @property
    def core_services(self) -> list[str]:
        """All services but nginx and the instances."""
        return [name for name in self.hashes if name != "nginx" and name not in INSTANCES]

    @cached_property
    def found(self) -> list[dict[str, Any]]:
        """What the engine says of each container with this project's name, until `look_again`."""
        ids = output("docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}.project={self.project}").split()
        found: list[dict[str, Any]] = json.loads(output("docker", "inspect", *ids) or "[]") if ids else []
        return found

    def look_again(self) -> None:
        """Forget `found`, because containers change."""
        self.__dict__.pop("found", None)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what the engine says of the container of each service, also of services that were removed."""
        found = {}
        for each in self.found:
            labels = each["Config"]["Labels"]
            # Not the containers of `docker compose run`.
            if labels.get(f"{LABEL}.oneoff") != "True" and is_here(working_directory(each)):
                found[labels[f"{LABEL}.service"]] = each
        return found

    def foreign(self) -> str:
        """Return whose containers have this project's name, in words; empty if there are none of another clone."""
        others = sorted(directory for directory in map(working_directory, self.found) if not is_here(directory))
        if not others:
            return ""
        return (
            f"The containers named {self.project} are those of {others[0]}, not of this clone. "
            f"Nothing was touched. Choose another COMPOSE_PROJECT_NAME in {ENV_FILE}, for example {self.project}-2"
        )

    def check_is_own(self) -> None:
        """Raises Failed if containers of another clone have this project's name."""
        if foreign := self.foreign():
            raise Failed(foreign)

    def container(self, service: str) -> dict[str, Any] | None:
        """Return what the engine says of a service's container now."""
        self.look_again()
        return self.containers().get(service)

    def is_running(self) -> bool:
        return any(container["State"]["Running"] for container in self.containers().values())

    def why_outdated(self, container: dict[str, Any] | None) -> str:
        """Return how a service's container differs from what `up` would start; empty if it does not."""
        if not container:
            return "it has no container"
        labels = container["Config"]["Labels"]
        if labels[f"{LABEL}.config-hash"] != self.hashes.get(labels[f"{LABEL}.service"]):
            return "its settings changed"
        if container["Image"] != image_id(container["Config"]["Image"]):
            return "its image changed"
        return "" if container["State"]["Running"] else STOPPED

    def start(self, *services: str, recreate: bool = False, wait: bool = False) -> None:
        """Create or start containers, and replace those that are outdated. `recreate` replaces all.

        `wait` returns when they are healthy. Raises Failed, with the end of the log of each that is not.
        """
        options = [*(["--force-recreate"] if recreate else []), *(["--wait"] if wait else [])]
        try:
            self.compose("up", "--detach", "--no-deps", *options, *services)
        except Failed as failed:
            logs = [f"The end of {name}'s log:\n\n{self.log(name)}" for name in services if self.why_not_running(name)]
            raise Failed("\n\n".join([str(failed), *logs])) from None

    def unpause(self) -> None:
        """Unpause containers that were paused with `docker pause`."""
        for name, container in self.containers().items():
            if container["State"]["Paused"]:
                with step(f"{name} was paused"):
                    output("docker", "unpause", container["Id"])
                self.look_again()

    def hand_over_volumes(self) -> None:
        """After a change of APP_UID, give the volumes to the new user. The stack stops for it."""
        user = values()["APP_UID"]
        run = f"{self.project}_run"
        options = output("docker", "volume", "inspect", "--format", "{{.Options.o}}", run)
        if not options or f"uid={user}," in options:
            return
        with step(f"APP_UID is now {user}: stopping the stack to change the owner of its volumes"):
            self.remove()
            output("docker", "volume", "rm", run)
            for name in ("static", "media", "acme"):
                volume = f"--volume={self.project}_{name}:/volume"
                words = ["--rm", "--network=none", "--user=0", volume, self.image("nginx")]
                console.run("docker", "run", *words, "chown", "-R", f"{user}:{user}", "/volume")

    def published(self) -> dict[str, str]:
        """Return ADDRESS, PORT, PLAIN_PORT and TLS as nginx's container has them; nothing if there is none."""
        container = self.containers().get("nginx")
        ports = container["HostConfig"]["PortBindings"] if container else {}
        names = {"PORT": "8000/tcp", "PLAIN_PORT": "8080/tcp"}
        found = {name: ports[inner][0]["HostPort"] for name, inner in names.items() if inner in ports}
        if not found:
            return {}
        # That of IPv4 stands for both (listen_addresses).
        addresses = sorted((each["HostIp"].strip("[]") for each in ports[names["PORT"]]), key=lambda each: ":" in each)
        address = addresses[0] or "0.0.0.0"  # noqa: S104
        return found | {"ADDRESS": address, "TLS": "on" if "PLAIN_PORT" in found else "off"}

    def why_not_served(self) -> str:
        """Return why a visitor gets no page of an app through nginx's published port; empty if each is served."""
        given = values()
        return why_not_served(given["ADDRESS"], given["PORT"], given)

    def stop(self) -> None:
        """Stop and remove the containers. nginx stops after the apps have disconnected their watchers."""
        if instances := [name for name in INSTANCES if name in self.containers()]:
            self.compose("stop", *instances)
        self.remove()

    def remove(self, *options: str) -> None:
        """Remove the containers and networks, also those of services that the settings left out since."""
        ComposeTarget(whole=True).compose("down", "--remove-orphans", *options)
        self.look_again()

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        words = ["docker", "exec", f"{self.project}-{service}-1", *command]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        try:
            return subprocess.run(words, **options, errors="replace", check=False, timeout=60)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, "no answer")

    def probe(self, where: str, command: str, *services: str) -> subprocess.CompletedProcess[str]:
        return self.run_in(where, "python3", "-m", "deploy.core.probe", command, *services)

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
            self.look_again()
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

    def look(self) -> tuple[dict[str, str], set[str]]:
        """Return why each service is not ready, empty if it is, and the names of the instances in rotation."""
        listening = [name for name in SERVICES if name == "nginx" or INSTANCES[name].server.listens]
        containers = self.containers()
        reasons = {name: why_not_running(containers.get(name)) for name in (*SERVICES, *self.core_services)}
        # nginx's container has the sockets of all.
        done = self.probe("nginx", "look", *listening)
        if done.returncode:
            with ThreadPoolExecutor() as pool:
                answers = dict(zip(listening, pool.map(self.why_not_ready, listening), strict=True))
            return reasons | answers, self.in_rotation()
        # Python may have warned before.
        answers, in_rotation = json.loads(done.stdout.splitlines()[-1])
        return reasons | answers, set(in_rotation)

    def why_not_ready(self, service: str) -> str:
        if service != "nginx" and not (service in INSTANCES and INSTANCES[service].server.listens):
            return self.why_not_running(service)
        done = self.probe(service, "ready", service)
        return done.stdout.strip() or "no answer" if done.returncode else ""

    def why_not_running(self, service: str) -> str:
        return why_not_running(self.container(service))

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
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        memory = values()["MEMORY"] if service in (*INSTANCES, "postgres") else "fixed in docker-compose.yml"
        killed = f"It ran out of memory, and the kernel killed it. Its limit, MEMORY, is {memory}.\n"
        return (killed if container["State"]["OOMKilled"] else "") + readable_end(
            done.stdout.decode(errors="surrogateescape")
        )


def why_not_running(container: dict[str, Any] | None) -> str:
    """Return why a service is not ready that answers no requests; empty if it is."""
    if not container:
        return "no container"
    state = container["State"]
    if not state["Running"] or state["Restarting"] or state["Paused"]:
        return f"its container is {state['Status']}"
    if state.get("Health", {}).get("Status") == "unhealthy":
        return "its health check fails"
    started = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC)
    if datetime.now(UTC) - started < timedelta(seconds=COMMAND_READY_AFTER):
        return f"it has run for less than {COMMAND_READY_AFTER} s"
    return ""


def ingredients(build: Mapping[str, Any]) -> str:
    """Return a fingerprint of what an image is made of; empty if its Dockerfile is too special to tell.

    `build` is the image's part of compose's configuration.
    """
    context = Path(build["context"])
    file = context / build.get("dockerfile", "")
    if build.keys() - {"context", "dockerfile", "args"} or not file.is_file():
        return ""
    text = file.read_text().replace("\\\n", " ")
    lines = [words for words in map(str.split, text.splitlines()) if words and words[0].upper() in ("COPY", "ADD")]
    # From this machine, and not from another stage.
    own = [words for words in lines if not any(word.startswith("--from=") for word in words)]
    paths = [context / word for words in own for word in words[1:-1] if not word.startswith("--")]
    if "<<" in text or "type=bind" in text or not all(path.exists() for path in paths):
        return ""
    bases = {base: image_id(base) for base in BASES.findall(text)}
    return fingerprint(map(str, [file, context / ".dockerignore", *paths]), {**build, **bases})


def working_directory(container: dict[str, Any]) -> str:
    """Return the clone whose compose made a container."""
    return str(container["Config"]["Labels"].get(f"{LABEL}.project.working_dir", PROJECT))


def is_here(directory: str) -> bool:
    """Return whether a directory is this clone. A clone that moved still has its containers."""
    return directory == str(PROJECT) or not Path(directory).exists()


def user_of(image: str) -> str:
    """Return the user of an image; empty if the engine does not have it."""
    return output("docker", "image", "inspect", "--format", "{{.Config.User}}", image).partition(":")[0]


@cache
def image_id(name: str) -> str:
    return output("docker", "image", "inspect", "--format", "{{.Id}}", name)
