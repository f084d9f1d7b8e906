"""Faults that tests cause: servers that stop or freeze. Also certificates for tests with TLS."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.servers import program, servers


@contextmanager
def away(port: int, how: signal.Signals) -> Iterator[None]:
    """For the block, stop the server that listens on a port, or freeze it (SIGSTOP)."""
    server = servers[port]
    if how == signal.SIGSTOP:
        with frozen(server.process.pid):
            yield
        return
    server.stop(how)
    try:
        yield
    finally:
        server.start()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """For the block, suspend a process and its children: in PostgreSQL, the children answer."""
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def self_signed(directory: Path, *addresses: str) -> dict[str, str]:
    """A certificate for this machine and these addresses; the variables that name it and its key."""
    files = {"TLS_KEY": f"{directory}/key.pem", "TLS_CERTIFICATE": f"{directory}/certificate.pem"}
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", files["TLS_KEY"]]
    names = "".join(f",IP:{address}" for address in addresses)
    certificate = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:127.0.0.1{names}"]
    command = [program("openssl", "openssl"), "req", "-x509", *key, *certificate, "-out", files["TLS_CERTIFICATE"]]
    subprocess.run(command, check=True, capture_output=True)
    return files
