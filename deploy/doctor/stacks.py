"""The stacks on this machine as the doctor sees them: native, and in containers."""

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from deploy.core import elsewhere, preflight
from deploy.core.apps import INSTANCES, SERVICES, App, Instance
from deploy.core.console import Failed, output
from deploy.core.settings import COMPOSE_ONLY, ENV_FILE, SECRETS, VAR, listen_addresses, read_file, setting, values
from deploy.core.supervisor import processes_of

if TYPE_CHECKING:
    from deploy.targets.compose.target import ComposeTarget
    from deploy.targets.native.target import NativeTarget


class NativeStack:
    """The native stack. Subclasses override what differs on their target."""

    var = VAR
    services: Sequence[str] = SERVICES
    # The command that starts the stack or applies a change.
    start = "make up"
    # Files and directories that others must not read.
    private = (ENV_FILE, *(VAR / name for name in ("environment", "db.sqlite3", "run", "log", "supervisor", "media")))

    @property
    def instances(self) -> list[Instance]:
        return [INSTANCES[service] for service in self.services if service in INSTANCES]

    @cached_property
    def is_running(self) -> bool:
        return preflight.is_up()

    @cached_property
    def variables(self) -> dict[str, str]:
        """The variables of the last `make up`, which the running processes have."""
        return read_file(self.var / "environment")

    @cached_property
    def native(self) -> "NativeTarget":
        from deploy.targets.native.target import NativeTarget

        return NativeTarget(self.variables)

    def setting(self, name: str) -> str:
        """Return a setting of the running stack; of the next `make up` if it does not run."""
        running = self.variables if self.is_running else {}
        return running[name] if name in running else setting(name)

    # The machine

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yield each address and port that nginx listens on."""
        for address in listen_addresses(self.setting("ADDRESS")):
            yield address, self.setting("PORT")
            if self.setting("TLS") == "on":
                yield address, self.setting("PLAIN_PORT")

    def is_own_nginx(self, pid: int) -> bool:
        """Return whether a process that listens on nginx's port is this stack's nginx."""
        return os.path.realpath(f"/proc/{pid}/cwd") == str(self.var)

    def disks(self) -> list[Path]:
        """Return a path on each disk that the stack writes to."""
        return [self.var, Path("/")]

    def python(self) -> str:
        """Return the path of the Python that runs the apps, or would; empty if there is none."""
        own = preflight.VENV / "bin/python"
        return str(own) if own.exists() else preflight.suitable_python()

    def uv(self) -> Path:
        return preflight.VENV / "bin/uv"

    def processes(self) -> Iterator[tuple[int, int, str]]:
        """Yield pid, parent's pid and name of each process of the stack, including those left behind."""
        for process in processes_of(self.var):
            yield process.pid, process.parent, process.name

    def somaxconn(self, service: str) -> int:
        """Return the kernel's limit for the listen queue of a service."""
        return int(Path("/proc/sys/net/core/somaxconn").read_text())

    # Settings

    def secrets(self) -> dict[str, str]:
        """Return the secrets that must be hard to guess, by the name to print."""
        found = {name: setting(name) for name in SECRETS if name not in COMPOSE_ONLY}
        return found | passwords(self)

    def url(self, name: str) -> str:
        """Return DATABASE_URL or REDIS_URL as the apps get it; empty if it is not set."""
        return elsewhere.with_authorities(values(), setting("CA_FILE")).get(name, "")

    def certificate(self) -> tuple[str, str]:
        """Return the paths of nginx's certificate and of its key."""
        return self.setting("TLS_CERTIFICATE"), self.setting("TLS_KEY")

    def acme_certificate(self) -> str:
        """Return the certificate that certbot renews, as PEM; empty if nginx does not run."""
        return ""

    # Services

    def why_not_ready(self, service: str) -> str:
        return self.native.why_not_ready(service)

    def is_in_rotation(self, instance: Instance) -> bool:
        return self.native.is_in_rotation(instance)

    def log(self, service: str) -> str:
        """Return the end of a service's log."""
        log = self.var / f"log/{service}.log"
        return log.read_text(errors="surrogateescape") if log.exists() else ""

    def restart_command(self, app: App) -> str:
        return f"make restart APP={app.name}"

    def logs_command(self, service: str) -> str:
        return f"make logs APP={service}"

    def manage(self, app: App, *words: str) -> str:
        """Return the output of an app's manage.py. Raises Failed with it."""
        from deploy.targets.native.target import run_python

        # When root starts the stack, it runs as www-data. As root, manage.py would leave SQLite files that www-data
        # cannot write to.
        owner = self.var.stat()
        other = os.geteuid() == 0 and owner.st_uid != 0
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if other else {}
        return run_python(self.variables, app.manage, *words, **account)


class ComposeStack(NativeStack):
    """The stack in containers on this machine."""

    private = (ENV_FILE, VAR / "secrets")

    @cached_property
    def compose(self) -> "ComposeTarget":
        from deploy.targets.compose.target import ComposeTarget

        return ComposeTarget()

    @cached_property
    def variables(self) -> dict[str, str]:
        from deploy.targets.compose.generate import MOUNTED

        return read_file(MOUNTED / "nginx.env") | self.compose.published()

    @cached_property
    def is_running(self) -> bool:
        from deploy.targets.compose import target

        return target.is_running()

    def certificate(self) -> tuple[str, str]:
        """The paths on this machine. Those of the running nginx are in its container."""
        return setting("TLS_CERTIFICATE"), setting("TLS_KEY")

    def acme_certificate(self) -> str:
        path = self.setting("TLS_CERTIFICATE")
        return output("docker", "exec", f"{self.compose.project}-nginx-1", "openssl", "x509", "-in", path)

    def is_own_nginx(self, pid: int) -> bool:
        """The process is Docker's proxy or, for root, nginx in its container: its name does not tell whose it is."""
        return self.is_running

    def disks(self) -> list[Path]:
        engine = (
            output("docker", "info", "--format", "{{.DockerRootDir}}", timeout=10) if shutil.which("docker") else ""
        )
        return [*super().disks(), *([Path(engine)] if engine else [])]

    def somaxconn(self, service: str) -> int:
        """Each container has a limit of its own."""
        container = self.compose.container(service) if self.is_running else None
        if not container:
            raise Failed("nothing is running, and each container has its own limit")
        return int(output("docker", "exec", container["Id"], "cat", "/proc/sys/net/core/somaxconn"))

    def secrets(self) -> dict[str, str]:
        return {name: setting(name) for name in SECRETS}

    def why_not_ready(self, service: str) -> str:
        return self.compose.why_not_ready(service)

    def is_in_rotation(self, instance: Instance) -> bool:
        return self.compose.is_in_rotation(instance)

    def log(self, service: str) -> str:
        return self.compose.log(service)

    def manage(self, app: App, *words: str) -> str:
        return self.compose.compose("exec", "-T", app.instances[0].name, "python", app.manage, *words)


def passwords(stack: NativeStack) -> dict[str, str]:
    """Return the passwords in the URLs of the database and of Redis."""
    return {f"the password in {name}": password(stack.url(name)) for name in ("DATABASE_URL", "REDIS_URL")}


def password(url: str) -> str:
    return unquote(urlsplit(url).password or "")
