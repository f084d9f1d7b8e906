"""What is asked of an instance from beside it: who it is to nginx, whether it is ready, when it is idle.

It runs where the sockets are: imported by what runs there, or as a command, which a container's health check and a roll
from outside use: `python3 -m deploy.instance ready site-a`. Nothing but the standard library.
"""

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from deploy import roll
from deploy.cores import cores

APPS = ("site", "api")
INSTANCES = ("site-a", "site-b", "api-a", "api-b")

# How many requests nginx lets each worker hold: half a second's work. A burst is carried, and what is more is told so
# at once (docs/reliability.md, Overload). LISTEN is uWSGI's own queue, one for the workers of an instance.
HELD, LISTEN = 128, 1024
# Seconds. An instance that starts needs 1 to 3; this is for a machine that is busy.
READY = 30
# A request may take 20 (uWSGI's harakiri), and one that waited for a worker for 5 is not worked on (its middleware).
IDLE = 27
# Looks at an instance between which nothing began are this far apart.
LOOK = 0.2


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


def of(app: str) -> list[str]:
    """Its instances: `site-a`, `site-b`."""
    return [instance for instance in INSTANCES if instance.startswith(app)]


def members(instance: str, workers: int) -> list[str]:
    """What nginx knows an instance by: `site-a` is one server, `api-a` one for each worker."""
    return [instance] if instance.startswith("site") else [f"{instance}-{slot}" for slot in range(workers)]


def servers(run: Path, workers: int) -> dict[str, str]:
    """The lines of nginx's upstreams, where both instances of both apps are on this machine."""
    return {
        words: "\n    ".join(
            f"server unix:{run}/upstream/{instance}/{member}.sock max_fails=0{limit};"
            for instance in of(app)
            for member in members(instance, workers)
        )
        for words, app, limit in (
            ("SITE_SERVERS", "site", f" max_conns={min(HELD * workers, LISTEN)}"),
            ("API_SERVERS", "api", f" max_conns={HELD}"),
            # Watchers are counted by the api itself.
            ("API_LIVE_SERVERS", "api", ""),
        )
    }


def why_not_ready(run: Path, part: str, workers: int) -> str:
    """Of nginx, or of an instance, asked through nginx; empty when it is ready."""
    if part == "nginx":
        return "" if get(run / "nginx.sock", "/")[0] else "it does not answer"
    for member in members(part, workers):
        status, body = get(run / "nginx.sock", f"/{member}/health/ready")
        if status != 200:
            faults = [f"{name} {state}" for name, state in body.items() if name != "status"]
            return f"{member} answers {status or 'nothing'}" + (f": {', '.join(faults)}" if faults else "")
    return ""


def uwsgi_stats(run: Path, instance: str) -> dict[str, Any] | None:
    """uWSGI's own figures of an instance (https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html)."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.settimeout(5)
        try:
            stats.connect(str(run / f"{instance}.stats"))
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
