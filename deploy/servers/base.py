"""The interface of a server kind, and requests to a server's own socket. Standard library only."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

# Requests that nginx lets one worker hold: half a second's work. nginx sheds what exceeds it with a 503.
REQUESTS_PER_WORKER = 128


class Server:
    """A kind of server. `instance` is a name, for example `site-a`; `run` is the directory of the sockets."""

    # The key in deploy/apps.toml, and the name of the kind's files in deploy/supervisor and deploy/systemd.
    kind: ClassVar[str]
    # For people: the server's name, and how nginx speaks to it.
    title: ClassVar[str] = ""
    protocol: ClassVar[str] = ""
    # Keys of deploy/apps.toml that an app of this kind must have.
    required: ClassVar[tuple[str, ...]] = ()
    # The systemd unit on hosts; {instance} is filled in. Apps that share a supervisord share its unit.
    unit: ClassVar[str]
    # nginx sends requests to it.
    listens: ClassVar[bool] = True
    # nginx keeps idle connections to it.
    keeps_connections: ClassVar[bool] = False
    # Clients may stay connected for hours. It tells them to come back when it stops.
    holds_watchers: ClassVar[bool] = False
    # It has unix sockets, even where BIND gives it TCP ports too.
    always_unix: ClassVar[bool] = False

    def sockets(self, instance: str, workers: int) -> list[str]:
        """Return the names of the sockets that nginx connects to, without `.sock`."""
        return [instance]

    def max_conns(self, workers: int) -> int:
        """Return how many requests nginx may have open on one socket."""
        return REQUESTS_PER_WORKER

    def check_command(self, app: str) -> list[str]:
        """Return a command that loads an app without serving it, and fails if that fails; empty if there is none."""
        return []

    def checks(
        self, run: Path, instance: str, workers: int, bind: tuple[str, int] | None = None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield the answer to the readiness check of each socket: the socket's name, status and JSON body.

        `bind` is the first TCP address of the instance, if it has one. Status 0 means that nothing answered.
        """
        return iter(())

    def wait_until_idle(self, run: Path, instance: str) -> None:
        """Return when an instance that is out of rotation holds no request that a stop would lose."""
        return

    def served(self, run: Path, instance: str, workers: int) -> dict[int, tuple[str, str]]:
        """Return requests served and watchers held, as text, by the pid of the worker."""
        return {}

    def worker_states(self, run: Path, instance: str) -> list[str]:
        """Return what each worker does, such as busy or idle; nothing if the server does not say."""
        return []

    def metrics(self, run: Path, instance: str, bind: tuple[str, int] | None = None) -> str:
        """Return the metrics of all processes of this machine as this instance reads them; empty if it does not."""
        return ""


def as_json(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON object of a response; an empty object for any other body."""
    return status, json.loads(body) if body.startswith(b"{") else {}


def as_text(status: int, body: bytes) -> str:
    """Return the body of a response; empty if it has another status than 200."""
    return body.decode() if status == 200 else ""


def why_unready(socket_name: str, status: int, body: dict[str, Any]) -> str:
    """Return what the answer to a readiness check says is wrong; empty for status 200."""
    if status == 200:
        return ""
    faults = [f"{name} {state}" for name, state in body.items() if name != "status"]
    return f"{socket_name} answers {status or 'nothing'}" + (f": {', '.join(faults)}" if faults else "")


def unix_socket(path: Path) -> socket.socket:
    """Connect to a unix socket. Raises OSError."""
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(5)
    try:
        connected.connect(os.fspath(path))
    except OSError:
        connected.close()
        raise
    return connected


def get(server: Path | tuple[str, int], path: str) -> tuple[int, dict[str, Any]]:
    """GET from a unix socket or a host and port. Return status and JSON body; 0 and the reason if nothing answers."""
    return as_json(*read(server, path))


def read(server: Path | tuple[str, int], path: str) -> tuple[int, bytes]:
    """Return what `get` returns, with the body as it is."""
    host, port = ("localhost", 80) if isinstance(server, Path) else server
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        if isinstance(server, Path):
            connection.sock = unix_socket(server)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, json.dumps({"error": str(error) or type(error).__name__}).encode()
    finally:
        connection.close()
