"""The stack on this machine: services under supervisord, instances behind nginx, and how to roll them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from deploy.core import nginx, rotation, supervisor
from deploy.core.apps import INSTANCES, SERVICES, App, Instance
from deploy.core.console import Failed, readable
from deploy.core.cores import cores
from deploy.core.probe import why_nginx_not_ready
from deploy.core.roll import show_roll, wait_until_ready
from deploy.core.settings import COMPOSE_ONLY, PROJECT, VAR, values
from deploy.servers import SERVERS

RUN, LOG = VAR / "run", VAR / "log"
BIN = Path(sys.executable).parent


def variables() -> dict[str, str]:
    """Return the settings of the stack on this machine, and what follows from them."""
    given = {name: value for name, value in values().items() if name not in COMPOSE_ONLY}
    address, tls = given["ADDRESS"], given["TLS"] == "on"
    return given | {
        "VAR_DIR": str(VAR),
        "DATABASE_URL": given["DATABASE_URL"] or f"sqlite:///{VAR}/db.sqlite3",
        "CORES": str(cores()),
        "DEBUG": "off",
        "LISTEN": f"{address}:{given['PORT']}",
        "LISTEN_PLAIN": f"{address}:{given['PLAIN_PORT']}" if tls else "",
    }


class NativeTarget:
    """The stack whose run-time files are in VAR, with the variables that `variables()` returns."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.workers = int(variables["CORES"])

    # supervisord and its services

    @property
    def supervisor(self) -> Any:
        return supervisor.connect(VAR)

    def is_running(self) -> bool:
        return supervisor.is_answering(VAR)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord says of each service that it has: `statename`, `pid` and more.

        After an upgrade in place supervisord does not know the pid of nginx's master, so the pid file has it.
        """
        known = {info["name"]: info for info in self.supervisor.getAllProcessInfo()}
        infos = {service: known[service] for service in SERVICES if service in known}
        infos["nginx"]["pid"] = nginx_master()
        return infos

    def start_supervisord(self) -> None:
        supervisor.write_programs(VAR, SERVICES)
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environment |= {"VAR_DIR": str(VAR), "SUPERVISOR_LOG_SIZE": "10MB"}
        configuration = PROJECT / "deploy/supervisor/supervisord.conf"
        subprocess.run([BIN / "supervisord", "-c", configuration], env=environment, cwd=PROJECT, check=True)
        deadline = time.monotonic() + 10
        while not self.is_running():
            if time.monotonic() > deadline:
                raise Failed(f"supervisord does not answer:\n{tail(LOG / 'supervisord.log')}")
            time.sleep(0.05)

    def remove_unregistered(self) -> list[str]:
        """Stop services that are no longer in the registry. Return their names."""
        removed = sorted(supervisor.reread(self.supervisor)[2])
        for service in removed:
            rotation.take_out_of_rotation(RUN, service)
            # Its kind left the registry with it. Kinds without its files return at once.
            for server in SERVERS.values():
                server.wait_until_idle(RUN, service)
            supervisor.remove(self.supervisor, service)
        return removed

    def supervisord(self) -> psutil.Process:
        return psutil.Process(int(self.supervisor.getPID()))

    def shut_down(self) -> int:
        """Stop every process and remove every socket. Return how many processes there were."""
        processes = list(self.all_processes())
        if self.is_running():
            self.supervisor.shutdown()
        else:
            # supervisord was killed and left them behind.
            for process in processes:
                # A worker may have ended with its master.
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        _, left = psutil.wait_procs(processes, timeout=40)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(RUN, ignore_errors=True)
        supervisor.socket_path(VAR).unlink(missing_ok=True)
        return len(processes)

    def all_processes(self) -> Iterator[psutil.Process]:
        """Yield the stack's processes, also those that a killed supervisord or master left behind."""
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                # supervisord's children inherit its environment. nginx writes its title over its own.
                below = "SUPERVISOR_LOG_SIZE" in environment and environment.get("VAR_DIR") == str(VAR)
                if below or (process.name() == "nginx" and process.cwd() == str(VAR)):
                    yield process
            except psutil.Error:
                continue

    # nginx

    def configure_nginx(self) -> bool:
        """Write nginx's configuration. Return True if anything changed. Raises Failed if nginx does not accept it."""
        try:
            return nginx.configure(VAR, self.workers, self.variables)
        except nginx.Refused as refused:
            raise Failed(str(refused)) from None

    def reload_nginx(self) -> None:
        """Reload nginx. Return when all workers that accept connections have the new configuration."""
        old = nginx_workers()
        os.kill(nginx_master(), signal.SIGHUP)
        wait_until(lambda: not any(map(accepts, old)), "nginx did not reload")

    def upgrade_nginx(self) -> None:
        """Replace nginx by the installed version (https://nginx.org/en/docs/control.html#upgrade).

        Both accept connections on the same sockets until the old one has finished its requests.
        """
        old = psutil.Process(nginx_master())
        workers = nginx_workers()
        old.send_signal(signal.SIGUSR2)
        wait_until(lambda: nginx_master() not in (0, old.pid), "the new nginx did not start")
        wait_until(lambda: any(map(accepts, nginx_workers())), "the new nginx has no workers")
        old.send_signal(signal.SIGQUIT)
        wait_until(lambda: not any(map(accepts, workers)), "the old nginx does not end")
        # The new master ignores the signal for the next upgrade while its parent, the old master, is alive. The old one
        # would stay as long as its workers hold watchers. They need no master to finish.
        with contextlib.suppress(psutil.NoSuchProcess):
            old.kill()

    # Instances

    def why_not_ready(self, service: str | Instance) -> str:
        """Return why a service is not ready; empty if it is."""
        if service == "nginx":
            return why_nginx_not_ready(RUN)
        instance = service if isinstance(service, Instance) else INSTANCES[service]
        if not instance.server.listens:
            found = supervisor.state(self.supervisor, instance.name)
            return "" if found == "RUNNING" else f"supervisord says {found}"
        return instance.server.why_not_ready(RUN, instance.name, self.workers)

    def wait_until_ready(self, service: str | Instance) -> None:
        """Raises Failed, with the end of the log, if the service keeps stopping or is not ready in time."""
        wait_until_ready(
            str(service),
            lambda: self.why_not_ready(service),
            lambda: supervisor.cannot_stay_up(self.supervisor, str(service)),
            lambda: tail(LOG / f"{service}.log"),
        )

    def take_out_of_rotation(self, instance: Instance) -> None:
        rotation.take_out_of_rotation(RUN, instance.name)

    def put_in_rotation(self, instance: Instance) -> None:
        rotation.put_in_rotation(RUN, instance.name)

    def is_in_rotation(self, instance: Instance) -> bool:
        return rotation.is_in_rotation(RUN, instance.name)

    def wait_until_idle(self, instance: Instance) -> None:
        instance.server.wait_until_idle(RUN, instance.name)

    def start_service(self, service: str) -> None:
        supervisor.restart(self.supervisor, service)

    def restart(self, instance: Instance) -> None:
        supervisor.restart(self.supervisor, instance.name)

    def is_serving(self, instance: Instance) -> bool:
        return self.is_in_rotation(instance) and not self.why_not_ready(instance)

    def roll(self, app: App, instances: Iterable[Instance] = ()) -> None:
        """Roll an app, or some of its instances. Raises Failed at the first that does not become ready."""
        show_roll(self, app, instances or app.instances)


def run_python(variables: Mapping[str, str], *command: str, **account: Any) -> str:
    """Run Python in the project's directory with the stack's settings. Return its output. Raises Failed with it.

    `account` is subprocess's `user`, `group` and `extra_groups`, to run as another user.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **account,
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n\n{done.stdout}")
    return done.stdout.strip()


def nginx_master() -> int:
    """Return the pid of nginx's master; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        return psutil.Process(int((RUN / "nginx.pid").read_text())).pid
    return 0


def nginx_workers() -> list[psutil.Process]:
    """Return the workers of the current master."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(nginx_master()).children()
    return []


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Return when the condition is true. Raises Failed, with the end of nginx's log, after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise}:\n{tail(LOG / 'nginx.log')}")
        time.sleep(0.02)


def accepts(nginx_worker: psutil.Process) -> bool:
    """Return whether a worker accepts connections. A worker that only finishes its requests says so in its title."""
    try:
        ended = nginx_worker.status() == psutil.STATUS_ZOMBIE
        return not ended and "shutting down" not in " ".join(nginx_worker.cmdline())
    except psutil.NoSuchProcess:
        return False


def tail(log: Path, lines: int = 20) -> str:
    return (
        "\n".join(map(readable, log.read_text(errors="replace").splitlines()[-lines:])) if log.exists() else "(empty)"
    )
