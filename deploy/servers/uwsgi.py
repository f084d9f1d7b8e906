"""uWSGI: one socket for all workers of an instance, spoken to over the uwsgi protocol."""

import http.client
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.core import processes

from .base import REQUESTS_PER_WORKER, Server, as_json, as_text, unix_socket

# uWSGI's own queue (`listen` in deploy/uwsgi/*.ini): nginx must not send more than fits.
LISTEN = 1024
# Seconds. A request takes at most 20 (harakiri), and one that waited 8 for a worker is rejected unworked.
LONGEST_REQUEST = 30
# Seconds between two looks at the counters.
LOOK = 0.2


class Uwsgi(Server):
    kind = "uwsgi"
    title, protocol = "uWSGI", "uwsgi protocol"
    required = ("port", "prefix", "source")
    unit = "tandem-uwsgi@{instance}"
    always_unix = True

    def max_conns(self, workers: int) -> int:
        return min(REQUESTS_PER_WORKER * workers, LISTEN)

    def check_command(self, app: str) -> list[str]:
        return [".venv/bin/uwsgi", "--ini", f"deploy/uwsgi/{app}.ini", "--no-server"]

    def checks(
        self, run: Path, instance: str, workers: int, bind: tuple[str, int] | None = None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        # uWSGI has a unix socket on every host, beside the TCP one.
        yield instance, *get(run / f"{instance}.sock", "/health/ready")
        # Another worker may have answered. One that is stopped (SIGSTOP, a debugger) serves nobody.
        for worker in (stats(run, instance) or {"workers": []})["workers"]:
            if processes.is_stopped(worker["pid"]):
                yield f"worker {worker['pid']} of {instance}", 0, {"it": "is stopped"}

    def wait_until_idle(self, run: Path, instance: str) -> None:
        """uWSGI loses the requests that it holds when it stops.

        No counter shows the queue of a unix socket, but no worker rests while a request waits in it.
        """
        deadline = time.monotonic() + LONGEST_REQUEST
        before = None
        while time.monotonic() < deadline:
            found = stats(run, instance)
            if found is None:
                return
            busy = any(worker["status"] == "busy" for worker in found["workers"])
            served = sum(worker["requests"] for worker in found["workers"])
            if not busy and served == before:
                return
            before = None if busy else served
            time.sleep(LOOK)

    def served(self, run: Path, instance: str, workers: int) -> dict[int, tuple[str, str]]:
        found = stats(run, instance) or {"workers": []}
        return {worker["pid"]: (str(worker["requests"]), "") for worker in found["workers"]}

    def worker_states(self, run: Path, instance: str) -> list[str]:
        found = stats(run, instance) or {"workers": []}
        # Such as sig10, while one handles a signal: the part of the word that is not bounded.
        return [worker["status"].rstrip("0123456789") for worker in found["workers"]]

    def metrics(self, run: Path, instance: str, bind: tuple[str, int] | None = None) -> str:
        return as_text(*read(run / f"{instance}.sock", "/health/metrics"))


def stats(run: Path, instance: str) -> dict[str, Any] | None:
    """Return the counters of uWSGI's stats server; None if it does not answer.

    Source: https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html
    """
    try:
        with unix_socket(run / f"{instance}.stats") as connection:
            figures: dict[str, Any] = json.loads(connection.makefile().read())
            return figures
    except (OSError, ValueError):
        return None


def get(path: Path, target: str) -> tuple[int, dict[str, Any]]:
    """GET over the uwsgi protocol. Return status and JSON body; 0 and the reason if nothing answers.

    Source: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
    """
    return as_json(*read(path, target))


def read(path: Path, target: str) -> tuple[int, bytes]:
    """Return what `get` returns, with the body as it is."""
    variables = {"REQUEST_METHOD": "GET", "REQUEST_URI": target, "PATH_INFO": target, "QUERY_STRING": ""}
    variables |= {"SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    packet = b"".join(struct.pack("<H", len(word)) + word.encode() for pair in variables.items() for word in pair)
    try:
        with unix_socket(path) as connection:
            connection.sendall(struct.pack("<BHB", 0, len(packet), 0) + packet)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, json.dumps({"error": str(error) or type(error).__name__}).encode()
