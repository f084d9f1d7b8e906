"""The services of one host as the doctor sees them: `python -m deploy.doctor.host`, on the host, as root."""

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from deploy.core.apps import APPS, App, Instance
from deploy.core.console import Failed, output
from deploy.core.settings import COMPOSE_ONLY, SECRETS
from deploy.targets.hosts import releases, system
from deploy.targets.hosts.target import HostTarget

from .findings import look
from .main import HOST
from .stacks import NativeStack, passwords


class HostStack(NativeStack):
    """The services that a host has because of its groups in the inventory: `edge`, and the names of apps."""

    var = system.VAR
    start = "make deploy INVENTORY=…"
    private = (system.ENVIRONMENT, system.SECRETS, system.VAR)
    is_running = True

    def __init__(self, groups: Sequence[str]) -> None:
        instances = [instance.name for app in APPS.values() if app.name in groups for instance in app.instances]
        self.services = [*(["nginx"] if "edge" in groups else []), *instances]
        self.variables = dict(os.environ)

    @cached_property
    def target(self) -> HostTarget:
        return HostTarget()

    # The machine

    def addresses(self) -> Iterator[tuple[str, str]]:
        for name in ("LISTEN", "LISTEN_PLAIN"):
            if os.environ.get(name):
                address, _, number = os.environ[name].rpartition(":")
                yield address, number

    def is_own_nginx(self, pid: int) -> bool:
        master = (system.RUN / "nginx.pid").read_text().strip()
        return str(pid) in (master, *output("pgrep", "--parent", master).split())

    def python(self) -> str:
        return str(system.CURRENT / releases.PYTHON) if self.instances else "/usr/bin/python3"

    def uv(self) -> Path:
        return Path("/opt/uv/bin/uv")

    def processes(self) -> Iterator[tuple[int, int, str]]:
        import psutil

        for process in psutil.process_iter(["ppid", "name", "username"]):
            if process.info["username"] == "app":
                yield process.pid, process.info["ppid"], process.info["name"]

    # Settings

    def secrets(self) -> dict[str, str]:
        return {name: secret(name) for name in SECRETS if name not in COMPOSE_ONLY} | passwords(self)

    def url(self, name: str) -> str:
        return secret(name)

    # Services

    def why_not_ready(self, service: str) -> str:
        return self.target.why_not_ready(service)

    def is_in_rotation(self, instance: Instance) -> bool:
        return self.target.is_in_rotation(instance)

    def log(self, service: str) -> str:
        return self.target.log(service)

    def restart_command(self, app: App) -> str:
        return self.start

    def logs_command(self, service: str) -> str:
        return f"make logs APP={service} INVENTORY=…"

    def manage(self, app: App, *words: str) -> str:
        return releases.as_app(system.current(), releases.PYTHON, app.manage, *words, **releases.identity(app))


def secret(name: str) -> str:
    """Return the secret in the file that NAME_FILE names; empty if this host does not have it."""
    file = os.environ.get(f"{name}_FILE")
    try:
        return Path(file).read_text().strip() if file else ""
    except FileNotFoundError:
        raise Failed(f"{name}_FILE is {file}: there is no such file") from None


def examine(groups: Sequence[str]) -> str:
    """Examine the host that this runs on. Return JSON: a mark, a text and a remedy for each finding."""
    return json.dumps(list(look(HOST, HostStack(groups))))


if __name__ == "__main__":
    system.read_environment()
    print(examine(system.groups()))
