"""The running stack on this machine: processes under supervisord, instances behind nginx, and how to roll them."""

import contextlib
import hashlib
import json
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

from deploy import nginx, roll, supervisord
from deploy.env import PROJECT, VAR
from deploy.instance import INSTANCES, of, servers, wait_idle, why_not_ready
from deploy.terminal import Failed, readable, wait_ready

RUN, LOG = VAR / "run", VAR / "log"
SUPERVISORD = VAR / "supervisor/supervisord.sock"
BIN = Path(sys.executable).parent
PARTS = ("nginx", *INSTANCES)


class Stack:
    """The stack whose run-time files are in VAR, with the variables that settings.read() gives."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.workers = int(variables["CORES"])

    # supervisord and its programs

    @property
    def supervisor(self) -> Any:
        return supervisord.connect(VAR)

    def running(self) -> bool:
        return supervisord.answers(VAR)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of nginx and the instances: `state`, `pid`, … of each.

        The pid of nginx is that of its master, which supervisord does not know after an upgrade in place.
        """
        supervisor = self.supervisor
        infos = {part: supervisor.getProcessInfo(supervisord.program(part)) for part in PARTS}
        infos["nginx"]["pid"] = nginx_master()
        return infos

    def start_supervisord(self) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environment |= {"VAR_DIR": str(VAR), "SUPERVISOR_PROGRAMS": "nginx.conf site.conf api.conf"}
        environment["SUPERVISOR_LOG_SIZE"] = "10MB"
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
        SUPERVISORD.unlink(missing_ok=True)
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
        """Writes nginx's configuration; True if anything changed. Raises Failed when nginx does not accept it."""
        try:
            return nginx.configure(VAR, self.variables | servers(RUN, self.workers))
        except nginx.Refused as refused:
            raise Failed(str(refused)) from None

    def reload_nginx(self) -> None:
        """Returns when the workers that accept have the new configuration."""
        old = nginx_workers()
        os.kill(nginx_master(), signal.SIGHUP)
        wait_until(lambda: not any(map(accepts, old)), "nginx did not reload")

    def upgrade_nginx(self) -> None:
        """Replaces nginx by the one that is installed now (https://nginx.org/en/docs/control.html#upgrade).

        Both accept on the same sockets until the old one, which finishes what it holds, has gone.
        """
        old = psutil.Process(nginx_master())
        workers = nginx_workers()
        old.send_signal(signal.SIGUSR2)
        wait_until(lambda: nginx_master() not in (0, old.pid), "the new nginx did not start")
        wait_until(lambda: any(map(accepts, nginx_workers())), "the new nginx has no workers")
        old.send_signal(signal.SIGQUIT)
        wait_until(lambda: not any(map(accepts, workers)), "the old nginx does not end")
        # A master whose parent is another ignores the signal for the next upgrade, and the old one would stay for as
        # long as its workers hold watchers. They need no master to finish.
        with contextlib.suppress(psutil.NoSuchProcess):
            old.kill()

    # Instances, `site-a` and the like

    def why_not_ready(self, part: str) -> str:
        return why_not_ready(RUN, part, self.workers)

    def wait_ready(self, instance: str) -> None:
        """Raises Failed, with the end of its log, if it cannot stay up or is not ready by the deadline."""
        wait_ready(
            instance,
            self.why_not_ready,
            lambda: supervisord.cannot_stay_up(self.supervisor, instance),
            lambda: tail(LOG / f"{instance}.log"),
        )

    def take_out(self, instance: str) -> None:
        roll.take_out(RUN, instance)

    def take_back(self, instance: str) -> None:
        roll.take_back(RUN, instance)

    def wait_idle(self, instance: str) -> None:
        wait_idle(RUN, instance)

    def restart(self, instance: str) -> None:
        supervisord.restart(self.supervisor, instance)

    def serves(self, instance: str) -> bool:
        return roll.is_in(RUN, instance) and not self.why_not_ready(instance)

    def roll(self, app: str) -> Iterator[str]:
        """Restarts the instances of an app, and yields each when it is back; raises Failed at one that is not ready."""
        return roll.roll(self, of(app))


def manage(variables: Mapping[str, str], *command: str, **account: Any) -> str:
    """Runs a command of the site's manage.py with its settings; its output, or Failed with it.

    `account`: subprocess's `user`, `group` and `extra_groups`, where it is not to be who runs this.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT / "django_site",
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **account,
    )
    if done.returncode:
        raise Failed(f"manage.py {command[0]} failed:\n\n{done.stdout}")
    return done.stdout.strip()


def nginx_master() -> int:
    """Its pid; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        return psutil.Process(int((RUN / "nginx.pid").read_text())).pid
    return 0


def nginx_workers() -> list[psutil.Process]:
    """Of the master that there is."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(nginx_master()).children()
    return []


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


def tail(log: Path, lines: int = 20) -> str:
    return (
        "\n".join(map(readable, log.read_text(errors="replace").splitlines()[-lines:])) if log.exists() else "(empty)"
    )


def fingerprint(paths: Iterable[str], variables: dict[str, str] | None = None) -> str:
    """Of what something is made from: files and directories of the project, and variables."""
    digest = hashlib.sha256(json.dumps(variables, sort_keys=True).encode())
    for path in paths:
        root = PROJECT / path
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
