"""Readiness and rotation of the services beside the sockets in `run`. Standard library only.

nginx reaches an instance through `run`/upstream/INSTANCE, a symbolic link to the directory of the sockets. The link is
the switch. Without it nginx finds no socket, has sent nothing, and tries the next server, for a POST too. Requests in
the instance's own queue are still served. Nothing is reloaded: a reload closes idle client connections on which a
request may be arriving, and cuts the watchers of every instance later.

As a command for containers: `python3 -m deploy.core.probe ready site-a`.
"""

import http.client
import json
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploy.core import maintenance_mode
from deploy.core.apps import APPS, Instance, find
from deploy.core.cores import cores
from deploy.core.settings import VAR
from deploy.servers import SERVERS
from deploy.servers.base import get, why_unready

# Headers for an answer of an instance: nginx's cache has no page for a visitor with a cookie.
UNCACHED = {"Cookie": "fresh=1"}


def take_out_of_rotation(run: Path, instance: str) -> None:
    (run / "upstream" / instance).unlink(missing_ok=True)


def put_in_rotation(run: Path, instance: str) -> None:
    link = run / "upstream" / instance
    if not link.is_symlink():
        if not link.parent.exists():
            link.parent.mkdir()
            # Root may make it, with a umask of its own, for nginx, which is another user. Its own parent is closed.
            link.parent.chmod(0o755)
        link.symlink_to("..")


def is_in_rotation(run: Path, instance: str) -> bool:
    return (run / "upstream" / instance).is_symlink()


def finish_requests(run: Path, instance: str) -> None:
    """Take an instance that left the registry out of rotation, and wait until it is idle."""
    take_out_of_rotation(run, instance)
    # Its kind left the registry with it. Kinds without its files return at once.
    for server in SERVERS.values():
        server.wait_until_idle(run, instance)


def remove_sockets(run: Path, instance: str) -> None:
    """Remove the sockets that a stopped instance left, which nobody will listen on again."""
    for socket in run.glob(f"{instance}[.-]*"):
        socket.unlink()


def why_not_ready(run: Path, service: str, workers: int, address: str | None = None) -> str:
    """Return why nginx or an instance is not ready; empty if it is. `address` is where it has TCP ports, if any."""
    if service == "nginx":
        return "" if get(run / "nginx.sock", "/")[0] else "it does not answer"
    return check(run, find(service), workers, address)[0]


def check(run: Path, instance: Instance, workers: int, address: str | None) -> tuple[str, dict[str, Any]]:
    """Return why an instance is not ready, empty if it is, and the answer to its last readiness check."""
    body: dict[str, Any] = {}
    bind = (address, instance.port()) if address else None
    for socket, status, body in instance.server.checks(run, instance.name, workers, bind):
        if reason := why_unready(socket, status, body):
            return reason, body
    return "", body


def why_not_served(address: str, port: str, variables: Mapping[str, str]) -> str:
    """Return why a visitor gets no page of an app through nginx's own port; empty if each app is served."""
    found = (why_no_page(address, port, variables, app.prefix) for app in APPS.values() if app.prefix)
    return next(filter(None, found), "")


def why_no_page(address: str, port: str, variables: Mapping[str, str], path: str) -> str:
    """Return why a visitor's request through nginx's own port gets no page; empty if it gets one."""
    try:
        status = visit(address, port, variables, path)
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {error or type(error).__name__}"
    return f"GET {path}: status {status}" if status >= 500 or status == 400 else ""


def visit(address: str, port: str, variables: Mapping[str, str], path: str) -> int:
    """Return the status of GET for the first name in ALLOWED_HOSTS. Raises OSError and HTTPException."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    connection = http.client.HTTPConnection(address, int(port), timeout=10)
    if variables["TLS"] == "on":
        # The doctor reads the certificate.
        anyone = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(address, int(port), timeout=10, context=anyone)
    try:
        host = variables["ALLOWED_HOSTS"].split(",")[0].lstrip(".")
        key = maintenance_mode.key_of(Path(variables.get("VAR_DIR", VAR)))
        connection.request("GET", path, headers={"Host": host, "Cookie": f"{UNCACHED['Cookie']}; maintenance={key}"})
        return connection.getresponse().status
    finally:
        connection.close()


def look(run: Path, services: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return why each service is not ready, empty if it is, and the names of the instances in rotation."""
    with ThreadPoolExecutor() as pool:
        reasons = pool.map(lambda service: why_not_ready(run, service, cores()), services)
        return dict(zip(services, reasons, strict=True)), [link.name for link in (run / "upstream").glob("*")]


def main(command: str, service: str, *more: str) -> None:
    """`ready` prints the reason and exits with 1 if the service is not ready. `look` prints JSON."""
    run = Path(os.environ["VAR_DIR"]) / "run"
    if command == "ready":
        sys.exit(why_not_ready(run, service, cores(), os.environ.get("BIND")) or None)
    elif command == "look":
        print(json.dumps(look(run, [service, *more])))
    elif command == "out":
        take_out_of_rotation(run, service)
    elif command == "in":
        put_in_rotation(run, service)
    elif command == "idle":
        find(service).server.wait_until_idle(run, service)
    elif command == "forget":
        remove_sockets(run, service)
    else:
        sys.exit(f"{command!r} should be one of ready, look, out, idle, in, forget")


if __name__ == "__main__":
    main(*sys.argv[1:])
