"""The running stack on this machine: processes under supervisord, instances behind nginx, and how to roll them."""

import contextlib
import filecmp
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from deploy.native.settings import PROJECT, VAR
from deploy.render import render

APPS = ("site", "api")
INSTANCES = ("a", "b")
RUN, LOG = VAR / "run", VAR / "log"
BIN = Path(sys.executable).parent
PROGRAMS = ("nginx", "site:a", "site:b", "api:a", "api:b")

# Seconds. An instance that starts needs 1 to 3; this is for a machine that is busy.
READY = 60
# What a request may take, and a little: uWSGI's harakiri is 20.
IDLE = 22


class Failed(Exception):
    """Something that the person at the keyboard has to know, in words for them."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def get(socket_path: Path, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a GET over a unix socket; status 0, with the reason, when nobody answers."""
    connection = UnixConnection(socket_path, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body.startswith(b"{") else {}
    except (OSError, http.client.HTTPException) as error:
        return 0, {"error": str(error) or type(error).__name__}
    finally:
        connection.close()


class Stack:
    """The stack whose run-time files are in VAR, with the variables that settings.read() gives."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.workers = int(variables["CORES"])

    # supervisord and its programs

    @property
    def supervisor(self) -> Any:
        """supervisord's XML-RPC (http://supervisord.org/api.html). Made anew: one that failed stays broken."""
        transport = SupervisorTransport(None, None, f"unix://{RUN}/supervisord.sock")
        return ServerProxy("http://supervisord", transport=transport).supervisor

    def running(self) -> bool:
        try:
            return bool(self.supervisor.getState())
        except (OSError, http.client.HTTPException):
            return False

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each program, in the order of PROGRAMS."""
        infos = self.supervisor.getAllProcessInfo()
        named = {
            info["name"] if info["group"] == info["name"] else f"{info['group']}:{info['name']}": info for info in infos
        }
        return {program: named[program] for program in PROGRAMS}

    def start_supervisord(self) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environment |= {"VAR_DIR": str(VAR), "SUPERVISOR_PROGRAMS": "nginx.conf site.conf api.conf"}
        configuration = PROJECT / "deploy/supervisor/supervisord.conf"
        subprocess.run([BIN / "supervisord", "-c", configuration], env=environment, cwd=PROJECT, check=True)
        deadline = time.monotonic() + 10
        while not self.running():
            if time.monotonic() > deadline:
                raise Failed(f"supervisord does not answer:\n{tail(LOG / 'supervisord.log')}")
            time.sleep(0.05)

    def supervisord(self) -> psutil.Process:
        return psutil.Process(int(self.supervisor.getPID()))

    def restart(self, program: str) -> None:
        with contextlib.suppress(Fault):  # it was not running
            self.supervisor.stopProcess(program)
        self.supervisor.startProcess(program, False)

    def shut_down(self) -> int:
        """Ends every process and removes every socket; how many processes there were."""
        processes = list(self.all_processes())
        if self.running():
            self.supervisor.shutdown()
        else:
            # supervisord was killed and left them behind.
            for process in processes:
                # A worker may have gone with its master, which was told just before.
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        _, left = psutil.wait_procs(processes, timeout=40)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(RUN, ignore_errors=True)
        return len(processes)

    def all_processes(self) -> Iterator[psutil.Process]:
        """The stack's processes, those included that a killed supervisord or master left behind."""
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                # What supervisord gives to all below it. nginx writes its title over its environment.
                below = "SUPERVISOR_PROGRAMS" in environment and environment.get("VAR_DIR") == str(VAR)
                if below or (process.name() == "nginx" and process.cwd() == str(VAR)):
                    yield process
            except psutil.Error:
                continue

    # nginx

    def configure_nginx(self, down: str = "") -> bool:
        """Writes nginx's configuration, with an instance (`site-a`) marked down; True if anything changed.

        Raises Failed, and leaves the old configuration, when nginx does not accept it.
        """
        servers = {
            "SITE_SERVERS": (f"site-{instance}" for instance in INSTANCES),
            "API_SERVERS": (f"api-{instance}-{slot}" for instance in INSTANCES for slot in range(self.workers)),
        }
        lines = {
            name: "\n    ".join(
                f"server unix:{RUN}/{server}.sock max_fails=0{' down' if down and server.startswith(down) else ''};"
                for server in members
            )
            for name, members in servers.items()
        }
        fresh = VAR / "nginx.new"
        render(PROJECT / "nginx", fresh, self.variables | lines)
        if same(fresh, VAR / "nginx"):
            shutil.rmtree(fresh)
            return False
        test = subprocess.run(
            ["nginx", "-t", "-q", "-p", VAR, "-c", fresh / "nginx.conf", "-e", "stderr"],
            capture_output=True,
            text=True,
            check=False,
        )
        if test.returncode:
            raise Failed(f"nginx does not accept its configuration:\n{test.stderr}")
        shutil.rmtree(VAR / "nginx", ignore_errors=True)
        fresh.rename(VAR / "nginx")
        return True

    def reload_nginx(self) -> None:
        """Returns when the workers that accept have the new configuration."""
        master = psutil.Process(int(self.processes()["nginx"]["pid"]))
        old = master.children()
        self.supervisor.signalProcess("nginx", "HUP")
        deadline = time.monotonic() + 10
        while any(accepts(worker) for worker in old):
            if time.monotonic() > deadline:
                raise Failed(f"nginx did not reload:\n{tail(LOG / 'nginx.log')}")
            time.sleep(0.02)

    # Instances

    def members(self, program: str) -> list[str]:
        """What nginx knows an instance by: `site:a` is one server, `api:a` one for each worker."""
        app, instance = program.split(":")
        return [f"site-{instance}"] if app == "site" else [f"api-{instance}-{slot}" for slot in range(self.workers)]

    def health(self, program: str) -> str:
        """Empty when a program is ready, an instance asked through nginx; or the reason why not."""
        if program == "nginx":
            return "" if get(RUN / "nginx.sock", "/")[0] else "it does not answer"
        for member in self.members(program):
            status, body = get(RUN / "nginx.sock", f"/{member}/health/ready")
            if status != 200:
                faults = [f"{name} {state}" for name, state in body.items() if name != "status"]
                return f"{member} answers {status or 'nothing'}" + (f": {', '.join(faults)}" if faults else "")
        return ""

    def wait_ready(self, program: str) -> None:
        """Raises Failed, with the end of the program's log, if it cannot stay up or is not ready by the deadline."""
        deadline = time.monotonic() + READY
        while True:
            state = self.processes()[program]["statename"]
            reason = self.health(program)
            if state in ("RUNNING", "STARTING") and not reason:
                return
            # Not STOPPED, which it is for a moment before it starts.
            if state in ("BACKOFF", "EXITED", "FATAL"):
                fault = "cannot stay up"
                break
            if time.monotonic() > deadline:
                fault = f"was not ready within {READY} s: {reason}"
                break
            time.sleep(0.1)
        log = LOG / f"{program.replace(':', '-')}.log"
        raise Failed(f"{program} {fault}. The end of {log}:\n\n{tail(log)}")

    def wait_idle(self, instance: str) -> None:
        """Until a site's instance holds no request: uWSGI loses what it holds when it is stopped."""
        deadline = time.monotonic() + IDLE
        while time.monotonic() < deadline:
            stats = uwsgi_stats(instance)
            if stats is None or not (stats["listen_queue"] or any(w["status"] == "busy" for w in stats["workers"])):
                return
            time.sleep(0.05)

    def roll(self, app: str) -> Iterator[str]:
        """Restarts an app's instances one after the other, each out of nginx meanwhile; yields each when it is back.

        Raises Failed at the first that does not get ready: it stays out of nginx, and the other serves on.
        """
        for instance in INSTANCES:
            program = f"{app}:{instance}"
            self.configure_nginx(down=f"{app}-{instance}")
            self.reload_nginx()
            if app == "site":
                self.wait_idle(instance)
            self.restart(program)
            self.wait_ready(program)
            yield program
        self.configure_nginx()
        self.reload_nginx()


def accepts(nginx_worker: psutil.Process) -> bool:
    """nginx's workers say in their titles when they only finish what they hold."""
    try:
        return nginx_worker.is_running() and "shutting down" not in " ".join(nginx_worker.cmdline())
    except psutil.NoSuchProcess:
        return False


def same(one: Path, other: Path) -> bool:
    files = [sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()) for root in (one, other)]
    return files[0] == files[1] and not any(filecmp.cmpfiles(one, other, files[0], shallow=False)[1:])


def tail(log: Path, lines: int = 20) -> str:
    return (
        "\n".join(map(readable, log.read_text(errors="replace").splitlines()[-lines:])) if log.exists() else "(empty)"
    )


def readable(line: str) -> str:
    """A line of a log for the eye: of a JSON one the time, level, message and traceback; any other as it is."""
    try:
        entry = json.loads(line)
        message = entry.get("message") or "{method} {path} {status} {duration} s {client}".format(**entry)
        traceback = f"\n{entry['exc_info']}" if entry.get("exc_info") else ""
        return (
            f"{entry['time'][11:19]} {entry['level']:<7} {message}  {entry.get('request_id') or ''}".rstrip()
            + traceback
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


def uwsgi_stats(instance: str) -> dict[str, Any] | None:
    """uWSGI's own figures of an instance (https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html)."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.settimeout(5)
        try:
            stats.connect(str(RUN / f"site-{instance}.stats"))
            figures: dict[str, Any] = json.loads(stats.makefile().read())
            return figures
        except (OSError, ValueError):
            return None


def fingerprint(paths: Iterable[str], variables: dict[str, str] | None = None) -> str:
    """Of what something is made from: files and directories of the project, and variables."""
    digest = hashlib.sha256(json.dumps(variables, sort_keys=True).encode())
    for path in paths:
        root = PROJECT / path
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
