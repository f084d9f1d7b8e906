"""What is asked of an instance from beside it: who it is to nginx, whether it is ready, when it is idle.

It runs where the sockets are: imported by what runs there, or as a command, which a container's health check and a roll
from outside use: `python3 -m deploy.instance ready site-a`. Nothing but the standard library.
"""

import http.client
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy import roll
from deploy.cores import cores

APPS = ("site", "api")
INSTANCES = ("site-a", "site-b", "api-a", "api-b")

# How many requests nginx lets each worker hold: half a second's work. A burst is carried, and what is more is told so
# at once (docs/reliability.md, Overload). LISTEN is uWSGI's own queue, one for the workers of an instance.
HELD, LISTEN = 128, 1024
# The first port of an app where nginx is on another host: a's, and next to it b's (site.ini); of the api, one for each
# worker (tornado_api/worker.py).
PORTS = {"site": 8001, "api": 8101}
# Seconds. An instance that starts needs 1 to 3; this is for a machine that is busy.
READY = 30
# A request may take 20 (uWSGI's harakiri), and one that waited for a worker for 8 is not worked on (its middleware).
IDLE = 30
# Looks at an instance between which nothing began are this far apart.
LOOK = 0.2


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = unix_socket(self.path, self.timeout)


def unix_socket(path: Path, timeout: float | None = 5) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(timeout)
    connected.connect(str(path))
    return connected


def get(server: Path | tuple[str, int], path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a GET from a unix socket, or a host and port; 0, with the reason, when nobody answers."""
    connection = (
        UnixConnection(server, timeout=5)
        if isinstance(server, Path)
        else http.client.HTTPConnection(*server, timeout=5)
    )
    try:
        connection.request("GET", path)
        return answer(connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        return 0, {"error": str(error) or type(error).__name__}
    finally:
        connection.close()


def get_uwsgi(path: Path, target: str) -> tuple[int, dict[str, Any]]:
    """The same over the uwsgi protocol (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html)."""
    variables = {"REQUEST_METHOD": "GET", "REQUEST_URI": target, "PATH_INFO": target, "QUERY_STRING": ""}
    variables |= {"SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    packet = b"".join(struct.pack("<H", len(word)) + word.encode() for pair in variables.items() for word in pair)
    try:
        with unix_socket(path) as connection:
            connection.sendall(struct.pack("<BHB", 0, len(packet), 0) + packet)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return answer(response)
    except (OSError, http.client.HTTPException) as error:
        return 0, {"error": str(error) or type(error).__name__}


def answer(response: http.client.HTTPResponse) -> tuple[int, dict[str, Any]]:
    body = response.read()
    return response.status, json.loads(body) if body.startswith(b"{") else {}


def of(app: str) -> list[str]:
    """Its instances: `site-a`, `site-b`."""
    return [instance for instance in INSTANCES if instance.startswith(app)]


def members(instance: str, workers: int) -> list[str]:
    """What nginx knows an instance by: `site-a` is one server, `api-a` one for each worker."""
    return [instance] if instance.startswith("site") else [f"{instance}-{slot}" for slot in range(workers)]


def port(member: str) -> int:
    """Of a member where nginx is on another host: `site-b` has 8002, `api-a-1` 8103."""
    app, instance, *slot = member.split("-")
    return PORTS[app] + "ab".index(instance) + 2 * int(slot[0] if slot else 0)


def servers(run: Path, workers: int, elsewhere: Mapping[str, str] = {}) -> dict[str, str]:
    """The lines of nginx's upstreams, and where pictures are. `elsewhere` tells of other hosts, where there are any.

    SITE_HOSTS and API_HOSTS are the hosts of an app as `local 10.0.0.2:4`, each with the workers of an instance there;
    without them both instances of both apps are on this machine. MEDIA_STORE is the address of the pictures' host.
    """

    def lines(app: str, bounded: bool = True) -> str:
        found = []
        for host in (elsewhere.get(f"{app.upper()}_HOSTS") or "local").split():
            address, _, count = host.partition(":")
            each = int(count or workers)
            # Of the site one server is an instance, of the api a worker.
            conns = f" max_conns={min(HELD * each, LISTEN) if app == 'site' else HELD}" if bounded else ""
            for instance in of(app):
                for member in members(instance, each):
                    if address == "local":
                        found.append(f"server unix:{run}/upstream/{instance}/{member}.sock max_fails=0{conns};")
                    else:
                        # A host that is gone costs a request the time to connect, so it is left alone for ten seconds;
                        # and asked all the same when every other one is (upstreams.conf).
                        server = f"server {address}:{port(member)}{conns}"
                        found += [f"{server} max_fails=1 fail_timeout=10s;", f"{server} max_fails=0 backup;"]
        return "\n    ".join(found)

    # Idle connections keep a draining worker waiting for as long as the timeout. None are kept to other hosts: what is
    # sent on one to a host that has gone waits for an answer, where a new connection would have told after one second.
    local = all(host.startswith("local") for host in elsewhere.get("API_HOSTS", "").split())

    return {
        "SITE_SERVERS": lines("site"),
        "API_SERVERS": lines("api"),
        "API_KEEPALIVE": "keepalive 16; keepalive_timeout 2s;" if local else "",
        # Watchers are counted by the api itself.
        "API_LIVE_SERVERS": lines("api", bounded=False),
        "MEDIA": "store" if elsewhere.get("MEDIA_STORE") else "files",
        "MEDIA_STORE": elsewhere.get("MEDIA_STORE", ""),
    }


def why_not_ready(run: Path, part: str, workers: int) -> str:
    """Of nginx, or of an instance; empty when it is ready."""
    if part == "nginx":
        return "" if get(run / "nginx.sock", "/")[0] else "it does not answer"
    host, _, first = os.environ.get("API_BIND", "").rpartition(":")
    for member in members(part, workers):
        if part.startswith("site"):
            status, body = get_uwsgi(run / f"{member}.sock", "/health/ready")
        elif first.isdigit():
            status, body = get((host, int(first) - PORTS["api"] + port(member)), "/health/ready")
        else:
            status, body = get(run / f"{member}.sock", "/health/ready")
        if status != 200:
            faults = [f"{name} {state}" for name, state in body.items() if name != "status"]
            return f"{member} answers {status or 'nothing'}" + (f": {', '.join(faults)}" if faults else "")
    return ""


def uwsgi_stats(run: Path, instance: str) -> dict[str, Any] | None:
    """uWSGI's own figures of an instance (https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html)."""
    try:
        with unix_socket(run / f"{instance}.stats") as stats:
            figures: dict[str, Any] = json.loads(stats.makefile().read())
            return figures
    except (OSError, ValueError):
        return None


def wait_idle(run: Path, instance: str) -> None:
    """uWSGI loses what it holds when it is stopped; the api drains.

    Its queue on a unix socket is in no figure that uWSGI has, but as long as somebody waits there no worker rests.
    """
    if not instance.startswith("site"):
        return
    deadline = time.monotonic() + IDLE
    before = None
    while time.monotonic() < deadline:
        stats = uwsgi_stats(run, instance)
        if stats is None:
            return
        busy = any(worker["status"] == "busy" for worker in stats["workers"])
        served = sum(worker["requests"] for worker in stats["workers"])
        if not busy and served == before:
            return
        before = None if busy else served
        time.sleep(LOOK)


def main(command: str, *parts: str) -> None:
    """`ready` and `in?` exit with 1, and `ready` with the reasons, when one is not."""
    run = Path(os.environ["VAR_DIR"]) / "run"
    if command == "ready":
        reasons = [reason for part in parts if (reason := why_not_ready(run, part, cores()))]
        sys.exit("\n".join(reasons) or None)
    for instance in parts:
        if command == "out":
            roll.take_out(run, instance)
        elif command == "idle":
            wait_idle(run, instance)
        elif command == "in":
            roll.take_back(run, instance)
        elif command == "in?":
            sys.exit(not roll.is_in(run, instance))
        else:
            sys.exit(f"{command}: not one of ready, out, idle, in, in?")


if __name__ == "__main__":
    main(*sys.argv[1:])
