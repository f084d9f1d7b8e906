"""The real PostgreSQL and Redis that tests run on: private ones, in a temporary directory, stopped at the end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# PostgreSQL refuses to run as root: as root, it runs as the account that Debian's package made.
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


class Missing(Exception):
    """A program that this machine lacks; the message says what to install."""


def program(name: str, package: str) -> str:
    """The path of an executable, Debian's versioned PostgreSQL directory included."""
    debian = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *debian]))
    if found is None:
        raise Missing(f"{name} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} stopped with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{process.args!r} did not listen on {port} within 30 s")


@contextmanager
def running(command: list[str], port: int, stop: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that listens on 127.0.0.1:port, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.send_signal(stop)
        process.wait(timeout=30)


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of one's own; yields its DATABASE_URL."""
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
        with running([*command, "-c", "log_min_messages=fatal"], port, stop=signal.SIGINT):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server of one's own; yields its REDIS_URL."""
    server = program("redis-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        port = free_port()
        with running([server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory], port):
            yield f"redis://127.0.0.1:{port}/0"


def self_signed(directory: Path) -> dict[str, str]:
    """A certificate for this machine; the variables that name it and its key."""
    files = {"TLS_KEY": f"{directory}/key.pem", "TLS_CERTIFICATE": f"{directory}/certificate.pem"}
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", files["TLS_KEY"]]
    certificate = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [program("openssl", "openssl"), "req", "-x509", *key, *certificate, "-out", files["TLS_CERTIFICATE"]]
    subprocess.run(command, check=True, capture_output=True)
    return files
