"""The stack on this machine: services under supervisord, instances behind nginx."""

import contextlib
import os
import shutil
import signal
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

from deploy.core import elsewhere, processes, roll, supervisor
from deploy.core.apps import SERVICES, Instance
from deploy.core.console import ok, readable_end, run
from deploy.core.cores import cores
from deploy.core.preflight import VENV
from deploy.core.processes import Process
from deploy.core.settings import COMPOSE_ONLY, HELD, PROJECT, VAR, bracketed, values

RUN, LOG = VAR / "run", VAR / "log"


def variables() -> dict[str, str]:
    """Return the settings of the stack on this machine, and what follows from them."""
    given = {name: value for name, value in values().items() if name not in COMPOSE_ONLY}
    given["DATABASE_URL"] = given["DATABASE_URL"] or f"sqlite:///{VAR}/db.sqlite3"
    address, tls = bracketed(given["ADDRESS"]), given["TLS"] == "on"
    return elsewhere.with_authorities(given, given["CA_FILE"]) | {
        "VAR_DIR": str(VAR),
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
        self.services = (*SERVICES, *(["metrics"] if variables.get("METRICS_PORT") else []))

    @property
    def supervisor(self) -> Any:
        return supervisor.connect(VAR)

    def is_running(self) -> bool:
        return supervisor.is_answering(VAR)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord says of each service that it has: `statename`, `pid` and more."""
        known = {info["name"]: info for info in self.supervisor.getAllProcessInfo()}
        infos = {service: known[service] for service in self.services if service in known}
        # After an upgrade in place supervisord does not know the pid of nginx's master.
        infos.get("nginx", {})["pid"] = nginx_master()
        return infos

    def start_supervisord(self) -> None:
        supervisor.write_programs(VAR, self.services)
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environment |= {"VAR_DIR": str(VAR), "SUPERVISOR_LOG_SIZE": "10MB"}
        configuration = str(PROJECT / "deploy/supervisor/supervisord.conf")
        run(str(VENV / "bin/supervisord"), "-c", configuration, env=environment, cwd=PROJECT)
        wait_until(self.is_running, "supervisord does not answer", "supervisord")

    def shut_down(self) -> int:
        """Stop every process and remove every socket. Return how many processes there were."""
        found = list(self.all_processes())
        asked = False
        with contextlib.suppress(OSError, HTTPException, xmlrpc.client.Error):
            if self.is_running():
                # A shutdown alone would stop one service after the other.
                self.supervisor.stopAllProcesses()
                asked = self.supervisor.shutdown()
        if not asked:
            # supervisord was killed and left them behind, or it has just begun.
            processes.signal_all(found, signal.SIGTERM)
        processes.signal_all(processes.wait_until_ended(found, 40), signal.SIGKILL)
        # Processes that started during the wait.
        while left := list(self.all_processes()):
            processes.signal_all(left, signal.SIGKILL)
            processes.wait_until_ended(left, 5)
        # The first process of a container may be slow to take note of orphans.
        processes.wait_until_ended(found, 2, zombies=True)
        shutil.rmtree(RUN, ignore_errors=True)
        for socket in supervisor.socket_path(VAR).parent.glob("supervisord.sock*"):
            socket.unlink()
        return len(found)

    def all_processes(self) -> Iterator[Process]:
        return supervisor.processes_of(VAR)

    def restart_nginx(self) -> None:
        """Kill an nginx that does not answer, and let supervisord start it: it would not act on another signal."""
        stuck = [process for process in self.all_processes() if process.name == "nginx"]
        processes.signal_all(stuck, signal.SIGKILL)
        processes.wait_until_ended(stuck, 10)
        supervisor.restart(self.supervisor, "nginx")

    def reload_nginx(self) -> None:
        """Reload nginx. Return when all workers that accept connections have the new configuration."""
        old = nginx_workers()
        os.kill(nginx_master(), signal.SIGHUP)
        wait_until(lambda: not any(map(accepts, old)), "nginx did not reload")

    def replace_nginx(self) -> None:
        """Replace nginx by the installed version (https://nginx.org/en/docs/control.html#upgrade).

        Both accept connections on the same sockets until the old one has finished its requests.
        """
        old = processes.find(nginx_master())
        assert old
        workers = nginx_workers()
        os.kill(old.pid, signal.SIGUSR2)
        wait_until(lambda: nginx_master() not in (0, old.pid), "the new nginx did not start")
        wait_until(lambda: any(map(accepts, nginx_workers())), "the new nginx has no workers")
        os.kill(old.pid, signal.SIGQUIT)
        wait_until(lambda: not any(map(accepts, workers)), "the old nginx does not end")
        # The new master ignores the signal for the next upgrade while its parent, the old master, is alive. The old one
        # would stay as long as its workers hold watchers. They need no master to finish.
        processes.signal_all([old], signal.SIGKILL)
        ok("the installed nginx has taken over")

    def restart(self, instance: Instance) -> None:
        supervisor.restart(self.supervisor, instance.name)

    def why_not_ready(self, service: str) -> str:
        why = super().why_not_ready(service)
        if service == "nginx" and not why:
            # Its workers serve without their master, but it is the one that reloads them.
            master = processes.find(nginx_master())
            if not master:
                return "its master has ended"
            if processes.is_stopped(master.pid):
                return "its master is stopped"
        return why

    def why_not_running(self, service: str) -> str:
        return supervisor.why_not_running(self.supervisor, service)

    def stopping_check(self, service: str) -> Callable[[], bool]:
        return lambda: supervisor.cannot_stay_up(self.supervisor, service)

    def log(self, service: str) -> str:
        return end_of_log(service)


def end_of_log(service: str) -> str:
    log = LOG / f"{service}.log"
    return readable_end(log.read_text(errors="replace") if log.exists() else "")


def run_python(variables: Mapping[str, str], *command: str, **options: Any) -> str:
    """Run Python in the project's directory with the stack's settings. Return its output. Raises Failed with it.

    `options` are subprocess's: `user`, `group` and `extra_groups`, to run as another user, or `stdout`.
    """
    python = str(VENV / "bin/python")
    return run(python, *command, cwd=PROJECT, env=os.environ | variables, pass_fds=HELD, **options)


def nginx_master() -> int:
    """Return the pid of nginx's master; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError):
        master = processes.find(int((RUN / "nginx.pid").read_text()))
        # The number may have been given to another process since.
        if master and master.name == "nginx":
            return master.pid
    return 0


def nginx_workers() -> list[Process]:
    """Return the workers of the current master."""
    return processes.workers(nginx_master())


def accepts(nginx_worker: Process) -> bool:
    """Return whether a worker accepts connections. A worker that only finishes its requests says so in its title."""
    return processes.is_alive(nginx_worker) and "shutting down" not in processes.title(nginx_worker.pid)


def wait_until(condition: Callable[[], bool], otherwise: str | Callable[[], str], service: str = "nginx") -> None:
    """Return when the condition is true. Raises Failed, with the end of a service's log, after ten seconds."""
    words = otherwise if callable(otherwise) else lambda: otherwise
    roll.wait_until(condition, lambda: f"{words()}. The end of {service}'s log:\n\n{end_of_log(service)}")
