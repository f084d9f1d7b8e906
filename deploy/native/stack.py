"""The running stack on this machine: processes under supervisord, instances behind nginx, and how to roll them."""

import contextlib
import filecmp
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from deploy import roll
from deploy.native.settings import PROJECT, VAR
from deploy.render import render

APPS = ("site", "api")
RUN, LOG = VAR / "run", VAR / "log"
BIN = Path(sys.executable).parent
PARTS = ("nginx", "site-a", "site-b", "api-a", "api-b")

# How many requests nginx lets each worker hold: half a second's work. A burst is carried, and what is more is told so
# at once (docs/reliability.md, Overload). LISTEN is uWSGI's own queue, one for the workers of an instance.
HELD, LISTEN = 128, 1024
# Seconds. An instance that starts needs 1 to 3; this is for a machine that is busy.
READY = 30
# A request may take 20 (uWSGI's harakiri), and one that waited for a worker for 5 is not worked on (its middleware).
IDLE = 27
# Looks at an instance between which nothing began are this far apart.
LOOK = 0.2


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

    run = RUN

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
        """What supervisord says of nginx and the instances: `state`, `pid`, … of each.

        The pid of nginx is that of its master, which supervisord does not know after an upgrade in place.
        """
        supervisor = self.supervisor
        infos = {part: supervisor.getProcessInfo(program(part)) for part in PARTS}
        infos["nginx"]["pid"] = nginx_master()
        return infos

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

    def configure_nginx(self) -> bool:
        """Writes nginx's configuration; True if anything changed.

        Raises Failed, and leaves the old configuration, when nginx does not accept it.
        """
        lines = {
            words: "\n    ".join(
                f"server unix:{RUN}/upstream/{instance}/{member}.sock max_fails=0{limit};"
                for instance in self.instances(app)
                for member in self.members(instance)
            )
            for words, app, limit in (
                ("SITE_SERVERS", "site", f" max_conns={min(HELD * self.workers, LISTEN)}"),
                ("API_SERVERS", "api", f" max_conns={HELD}"),
                # Watchers are counted by the api itself.
                ("API_LIVE_SERVERS", "api", ""),
            )
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
        master = psutil.Process(nginx_master())
        old = master.children()
        master.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(map(accepts, old)), "nginx did not reload")

    def upgrade_nginx(self) -> None:
        """Replaces nginx by the one that is installed now (https://nginx.org/en/docs/control.html#upgrade).

        Both accept on the same sockets until the old one, which finishes what it holds, has gone.
        """
        old = psutil.Process(nginx_master())
        workers = old.children()
        old.send_signal(signal.SIGUSR2)
        wait_until(lambda: nginx_master() not in (0, old.pid), "the new nginx did not start")
        new = psutil.Process(nginx_master())
        wait_until(lambda: any(map(accepts, new.children())), "the new nginx has no workers")
        old.send_signal(signal.SIGQUIT)
        wait_until(lambda: not any(map(accepts, workers)), "the old nginx does not end")
        # A master whose parent is another ignores the signal for the next upgrade, and the old one would stay for as
        # long as its workers hold watchers. They need no master to finish.
        with contextlib.suppress(psutil.NoSuchProcess):
            old.kill()

    # Instances, `site-a` and the like

    def instances(self, app: str) -> list[str]:
        return [part for part in PARTS if part.startswith(app)]

    def members(self, instance: str) -> list[str]:
        """What nginx knows an instance by: `site-a` is one server, `api-a` one for each worker."""
        return [instance] if instance.startswith("site") else [f"{instance}-{slot}" for slot in range(self.workers)]

    def why_not_ready(self, instance: str) -> str:
        """Asked through nginx; empty when it is ready."""
        if instance == "nginx":
            return "" if get(RUN / "nginx.sock", "/")[0] else "it does not answer"
        for member in self.members(instance):
            status, body = get(RUN / "nginx.sock", f"/{member}/health/ready")
            if status != 200:
                faults = [f"{name} {state}" for name, state in body.items() if name != "status"]
                return f"{member} answers {status or 'nothing'}" + (f": {', '.join(faults)}" if faults else "")
        return ""

    def wait_ready(self, instance: str) -> None:
        """Raises Failed, with the end of its log, if it cannot stay up or is not ready by the deadline."""
        deadline = time.monotonic() + READY
        while True:
            state = self.supervisor.getProcessInfo(program(instance))["statename"]
            reason = self.why_not_ready(instance)
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
        log = LOG / f"{instance}.log"
        raise Failed(f"{instance} {fault}. The end of {log}:\n\n{tail(log)}")

    def wait_idle(self, instance: str) -> None:
        """uWSGI loses what it holds when it is stopped; the api drains.

        Its queue on a unix socket is in no figure that uWSGI has, but as long as somebody waits there no worker rests.
        """
        if not instance.startswith("site"):
            return
        deadline = time.monotonic() + IDLE
        before = None
        while time.monotonic() < deadline:
            stats = uwsgi_stats(instance)
            if stats is None:
                return
            busy = any(worker["status"] == "busy" for worker in stats["workers"])
            served = sum(worker["requests"] for worker in stats["workers"])
            if not busy and served == before:
                return
            before = None if busy else served
            time.sleep(LOOK)

    def restart(self, instance: str) -> None:
        with contextlib.suppress(Fault):  # it was not running
            self.supervisor.stopProcess(program(instance))
        self.supervisor.startProcess(program(instance), False)

    def serves(self, instance: str) -> bool:
        return roll.is_in(RUN, instance) and not self.why_not_ready(instance)

    def roll(self, app: str) -> Iterator[str]:
        """Restarts the instances of an app, and yields each when it is back; raises Failed at one that is not ready."""
        return roll.roll(self, self.instances(app))


def program(part: str) -> str:
    """What supervisord calls it: `site:a`."""
    return part.replace("-", ":")


def nginx_master() -> int:
    """Its pid; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        return psutil.Process(int((RUN / "nginx.pid").read_text())).pid
    return 0


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Raises Failed, with the end of nginx's log, after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise}:\n{tail(LOG / 'nginx.log')}")
        time.sleep(0.02)


def accepts(nginx_worker: psutil.Process) -> bool:
    """nginx's workers say in their titles when they only finish what they hold."""
    try:
        ended = nginx_worker.status() == psutil.STATUS_ZOMBIE
        return not ended and "shutting down" not in " ".join(nginx_worker.cmdline())
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
            stats.connect(str(RUN / f"{instance}.stats"))
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
