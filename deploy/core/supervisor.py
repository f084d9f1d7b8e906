"""supervisord: the files of its programs, one for each service, and its XML-RPC (http://supervisord.org/api.html)."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ServerProxy, Transport

from deploy.core import processes
from deploy.core.apps import INSTANCES, PROJECT
from deploy.core.probe import finish_requests, remove_sockets
from deploy.core.processes import Process
from deploy.core.settings import Words
from deploy.servers.base import unix_socket


def socket_path(var: Path) -> Path:
    return var / "supervisor/supervisord.sock"


def write_programs(var: Path, services: Iterable[str], project: Path = PROJECT) -> None:
    """Write one file for each service to VAR_DIR/supervisor/programs, and remove the others.

    A service that is no instance, such as nginx, has a file of its own name in deploy/supervisor. `project` is the path
    by which supervisord finds the code: on hosts a link to the current release.
    """
    programs = var / "supervisor/programs"
    programs.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for service in services:
        instance = INSTANCES.get(service)
        words = {"PROJECT": str(project), "INSTANCE": service, "APP": instance.app.name if instance else service}
        template = PROJECT / "deploy/supervisor" / f"{instance.server.kind if instance else service}.conf"
        wanted[programs / f"{service}.conf"] = Words(template.read_text()).substitute(words)
    for file in set(programs.glob("*.conf")) - wanted.keys():
        file.unlink()
    for file, text in wanted.items():
        file.write_text(text)


class UnixTransport(Transport):
    """XML-RPC over supervisord's unix socket. Its own transport is a third-party package."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self.path, self.timeout = path, timeout

    def make_connection(self, host: object) -> HTTPConnection:
        connection = HTTPConnection("localhost", timeout=self.timeout)
        connection.sock = unix_socket(self.path)
        connection.sock.settimeout(self.timeout)
        return connection


def connect(var: Path, timeout: float = 60) -> Any:
    """Return a proxy of the supervisord whose run-time files are in `var`. `timeout`, in seconds, is for each answer.

    The longest answer is that of a stop: 30 s, then a kill.
    """
    return ServerProxy("http://localhost", transport=UnixTransport(socket_path(var), timeout)).supervisor


def is_answering(var: Path) -> bool:
    try:
        return bool(connect(var, timeout=5).getState())
    except (OSError, HTTPException, Error):
        return False


def processes_of(var: Path) -> Iterator[Process]:
    """Yield the processes of the stack on this machine, also those that a killed supervisord or master left behind."""
    for process in processes.processes():
        environment = processes.environment(process.pid)
        # supervisord's children inherit its environment. nginx writes its title over its own.
        below = "SUPERVISOR_LOG_SIZE" in environment and environment.get("VAR_DIR") == str(var)
        if below or (process.name == "nginx" and processes.directory(process.pid) == str(var)):
            yield process


def reread(supervisor: Any) -> tuple[set[str], set[str], set[str]]:
    """Return the programs that its files added, changed and removed since they were last applied."""
    [[added, changed, removed]] = supervisor.reloadConfig()
    return set(added), set(changed), set(removed)


def stop(supervisor: Any, service: str) -> None:
    """Stop a service if it runs."""
    with contextlib.suppress(Fault):
        supervisor.stopProcess(service)


def restart(supervisor: Any, service: str) -> None:
    """Restart a service with its newest file. The other services keep the files that they started with."""
    added, changed, _ = reread(supervisor)
    stop(supervisor, service)
    if service in changed:
        supervisor.removeProcessGroup(service)
    if service in added | changed:
        # Starts it too (autostart).
        supervisor.addProcessGroup(service)
    else:
        supervisor.startProcess(service, False)


def remove_unregistered(var: Path) -> list[str]:
    """Stop and forget the services whose files are gone. Return their names."""
    supervisor = connect(var)
    removed = sorted(reread(supervisor)[2])
    for service in removed:
        finish_requests(var / "run", service)
        stop(supervisor, service)
        supervisor.removeProcessGroup(service)
        remove_sockets(var / "run", service)
    return removed


def state(supervisor: Any, service: str) -> str:
    """Return supervisord's name of a service's state, for example RUNNING; UNKNOWN before it has been added.

    STOPPED also for a process that a signal stopped, which supervisord does not notice.
    """
    try:
        found = supervisor.getProcessInfo(service)
    except Fault:
        return "UNKNOWN"
    return "STOPPED" if processes.is_stopped(found["pid"]) else str(found["statename"])


def why_not_running(supervisor: Any, service: str) -> str:
    found = state(supervisor, service)
    return "" if found == "RUNNING" else f"supervisord says {found}"


def cannot_stay_up(supervisor: Any, service: str) -> bool:
    # A service is STOPPED for a moment before it starts.
    return state(supervisor, service) in ("BACKOFF", "EXITED", "FATAL")


def main(*services: str) -> None:
    """Write the programs of these services, then become supervisord: what a container and a host's unit start."""
    var = Path(os.environ["VAR_DIR"])
    project = Path(os.environ.get("PROJECT_DIR", Path.cwd()))
    write_programs(var, services, project)
    supervisord = project / ".venv/bin/supervisord"
    configuration = project / "deploy/supervisor/supervisord.conf"
    os.execv(supervisord, [str(supervisord), "--nodaemon", "--silent", "-c", str(configuration)])


if __name__ == "__main__":
    main(*sys.argv[1:])
