"""The stack on this machine: services under supervisord, instances behind nginx."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from deploy.core import roll, supervisor
from deploy.core.apps import SERVICES, Instance
from deploy.core.console import ok, readable_end, run
from deploy.core.cores import cores
from deploy.core.settings import COMPOSE_ONLY, PROJECT, VAR, values

RUN, LOG = VAR / "run", VAR / "log"


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


class NativeTarget(roll.Target):
    """The stack whose run-time files are in VAR, with the variables that `variables()` returns."""

    run = RUN

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.workers = int(variables["CORES"])

    @property
    def supervisor(self) -> Any:
        return supervisor.connect(VAR)

    def is_running(self) -> bool:
        return supervisor.is_answering(VAR)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord says of each service that it has: `statename`, `pid` and more."""
        known = {info["name"]: info for info in self.supervisor.getAllProcessInfo()}
        infos = {service: known[service] for service in SERVICES if service in known}
        # After an upgrade in place supervisord does not know the pid of nginx's master.
        infos["nginx"]["pid"] = nginx_master()
        return infos

    def start_supervisord(self) -> None:
        supervisor.write_programs(VAR, SERVICES)
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environment |= {"VAR_DIR": str(VAR), "SUPERVISOR_LOG_SIZE": "10MB"}
        supervisord = str(Path(sys.executable).with_name("supervisord"))
        configuration = str(PROJECT / "deploy/supervisor/supervisord.conf")
        subprocess.run([supervisord, "-c", configuration], env=environment, cwd=PROJECT, check=True)
        wait_until(self.is_running, "supervisord does not answer", "supervisord")

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
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                # supervisord's children inherit its environment. nginx writes its title over its own.
                below = "SUPERVISOR_LOG_SIZE" in environment and environment.get("VAR_DIR") == str(VAR)
                if below or (process.name() == "nginx" and process.cwd() == str(VAR)):
                    yield process

    def reload_nginx(self) -> None:
        """Reload nginx. Return when all workers that accept connections have the new configuration."""
        old = nginx_workers()
        os.kill(nginx_master(), signal.SIGHUP)
        wait_until(lambda: not any(map(accepts, old)), "nginx did not reload")

    def replace_nginx(self) -> None:
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
        ok("the installed nginx has taken over")

    def restart(self, instance: Instance) -> None:
        supervisor.restart(self.supervisor, instance.name)

    def why_not_running(self, service: str) -> str:
        return supervisor.why_not_running(self.supervisor, service)

    def stopping_check(self, service: str) -> Callable[[], bool]:
        return lambda: supervisor.cannot_stay_up(self.supervisor, service)

    def log(self, service: str) -> str:
        return end_of_log(service)


def end_of_log(service: str) -> str:
    log = LOG / f"{service}.log"
    return readable_end(log.read_text(errors="replace") if log.exists() else "")


def run_python(variables: Mapping[str, str], *command: str, **account: Any) -> str:
    """Run Python in the project's directory with the stack's settings. Return its output. Raises Failed with it.

    `account` is subprocess's `user`, `group` and `extra_groups`, to run as another user.
    """
    return run(sys.executable, *command, cwd=PROJECT, env=os.environ | variables, **account)


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


def accepts(nginx_worker: psutil.Process) -> bool:
    """Return whether a worker accepts connections. A worker that only finishes its requests says so in its title."""
    try:
        ended = nginx_worker.status() == psutil.STATUS_ZOMBIE
        return not ended and "shutting down" not in " ".join(nginx_worker.cmdline())
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], otherwise: str, service: str = "nginx") -> None:
    """Return when the condition is true. Raises Failed, with the end of a service's log, after ten seconds."""
    roll.wait_until(condition, lambda: f"{otherwise}:\n{end_of_log(service)}")
