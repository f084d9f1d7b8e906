"""The stack on this machine, without containers."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
from dotenv import dotenv_values

from deploy.core import supervisor
from tests.cleanup import mentioning
from tests.environment import PROJECT
from tests.faults import away
from tests.servers import program

from .base import Stack
from .network import HOME, enter


class NativeStack(Stack):
    def __init__(self, directory: Path, variables: Mapping[str, str] = {}, project: Path = PROJECT) -> None:
        # `make up` would install nginx.
        program("nginx", "nginx libnginx-mod-http-brotli-static")
        super().__init__(directory, {"STACK": "native"} | dict(variables), project)

    def down(self) -> None:
        """Run `make down`, and check that it leaves no process and no socket."""
        processes = self.processes()
        done = self.make("down")
        assert done.returncode == 0, done.stdout
        left = [process for process in processes if process.is_running()] + mentioning(self.var)
        assert not left, left
        assert not [path for path in self.var.rglob("*") if path.is_socket()]

    @property
    def port(self) -> int:
        enter(HOME)
        return int(self.environment["PORT"])

    @property
    def plain_port(self) -> int:
        enter(HOME)
        return int(self.environment["PLAIN_PORT"])

    @property
    def seen(self) -> Path:
        return self.var

    def processes(self) -> list[psutil.Process]:
        """Return supervisord with everything below it, and nginx, which is a daemon."""
        files = [self.var / "supervisor/supervisord.pid", self.var / "run/nginx.pid"]
        pids = [int(file.read_text()) for file in files if file.exists()]
        masters = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        return [process for master in masters for process in (master, *master.children(recursive=True))]

    def pids(self) -> dict[str, int]:
        supervised = self.supervisor
        pids = {each: int(supervised.getProcessInfo(each)["pid"]) for each in self.instances}
        return pids | {"nginx": int((self.var / "run/nginx.pid").read_text())}

    @property
    def supervisor(self) -> Any:
        """supervisord's XML-RPC interface."""
        return supervisor.connect(self.var)

    def stop(self, instance: str) -> None:
        self.supervisor.stopProcess(instance)

    def start(self, instance: str) -> None:
        self.supervisor.startProcess(instance, False)

    def exit_status(self, instance: str) -> int:
        info = self.supervisor.getProcessInfo(instance)
        assert info["statename"] == "STOPPED", info
        return int(info["exitstatus"])

    def setting(self, name: str) -> str:
        return dotenv_values(self.var / "environment")[name] or ""

    def read_logs(self, app: str) -> list[list[str]]:
        names = ["access", "nginx"] if app == "nginx" else self.instances_of(app)
        return [(self.var / f"log/{name}.log").read_text().splitlines() for name in names]

    def manage(self, *command: str) -> str:
        account = {"user": "www-data", "group": "www-data", "extra_groups": []} if os.geteuid() == 0 else {}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [
                *[".venv/bin/dotenv", "-f", self.var / "environment", "run", "--"],
                *[".venv/bin/python", "django_site/manage.py", *command],
            ],
            cwd=self.project,
            # Root's is closed to that account, and libpq looks for certificates in it.
            env=os.environ | {"HOME": str(self.var)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            **account,  # type: ignore[call-overload]
        )
        return done.stdout

    def outage(self, service: str, how: str) -> AbstractContextManager[None]:
        signals = {
            ("database", "stopped"): signal.SIGINT,
            ("database", "frozen"): signal.SIGSTOP,
            ("redis", "stopped"): signal.SIGKILL,
            ("redis", "frozen"): signal.SIGSTOP,
        }
        url = self.environment.get(f"{service.upper()}_URL", "")
        if not url or (service, how) not in signals:
            return super().outage(service, how)
        return away(urlsplit(url).port or 0, signals[service, how])

    def administer(self, statement: str) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(statement.encode())
