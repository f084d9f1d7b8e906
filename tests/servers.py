"""Private PostgreSQL and Redis servers for tests, in a temporary directory. They stop at the end."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

# PostgreSQL refuses to run as root. As root, it runs as the account of Debian's package.
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


class Missing(Exception):
    """This machine lacks a program. The message says what to install."""


def program(name: str, package: str) -> str:
    """Return the path of an executable, also in Debian's versioned PostgreSQL directory."""
    debian = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *debian]))
    if found is None:
        raise Missing(f"{name} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """Return a port below the ephemeral range (from 32768), where a client could take it before its server does."""
    while True:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", random.randint(10_000, 32_000)))
            return int(listener.getsockname()[1])


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def connect_postgresql(port: int) -> None:
    """Raise an exception until PostgreSQL accepts connections, which is later than it listens."""
    psycopg.connect(f"host=127.0.0.1 port={port} user=postgres connect_timeout=2").close()


class Server:
    """A server process that listens on 127.0.0.1:port. `connect` raises an exception until it responds."""

    process: subprocess.Popen[bytes]

    def __init__(self, command: list[str], port: int, connect: Callable[[int], None]) -> None:
        self.command = command
        self.port = port
        self.connect = connect

    def start(self) -> None:
        """Start the server. Return when it responds."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command!r} stopped with {self.process.returncode}")
            try:
                self.connect(self.port)
                return
            except (OSError, psycopg.OperationalError):
                time.sleep(0.05)
        raise TimeoutError(f"{self.command!r} did not answer on {self.port} within 30 s")

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=30)


# The running servers by port.
servers: dict[int, Server] = {}


@contextmanager
def running(
    command: list[str],
    port: int,
    stop: signal.Signals = signal.SIGTERM,
    connect: Callable[[int], None] = connect,
) -> Iterator[None]:
    """A server process that listens on 127.0.0.1:port, for the block."""
    server = servers[port] = Server(command, port, connect)
    try:
        server.start()
        yield
    finally:
        server.stop(stop)
        del servers[port]


@contextmanager
def postgresql(*options: str) -> Iterator[str]:
    """A private PostgreSQL server, with further options of its command. Yields its superuser's DATABASE_URL."""
    initdb, postgres = program("initdb", "postgresql"), program("postgres", "postgresql")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as directory:
        if AS_POSTGRES:
            shutil.chown(directory, "postgres", "postgres")
        data, port = f"{directory}/data", free_port()
        subprocess.run(
            [*AS_POSTGRES, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=directory,
        )
        command = [*AS_POSTGRES, postgres, "-D", data, "-p", str(port), "-k", directory, "-h", "127.0.0.1"]
        # SIGTERM would wait for clients; SIGINT is PostgreSQL's fast shutdown.
        command += ["-c", "log_min_messages=fatal", *options]
        with running(command, port, signal.SIGINT, connect_postgresql):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """A private Redis server. Yields its REDIS_URL."""
    server = program("redis-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        port = free_port()
        with running([server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory], port):
            yield f"redis://127.0.0.1:{port}/0"
