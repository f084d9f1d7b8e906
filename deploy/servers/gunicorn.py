"""gunicorn's tornado worker: one socket for each worker, spoken to over HTTP. The worker drains when it stops."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .base import Server, as_text, get, read


class Gunicorn(Server):
    kind = "gunicorn"
    title, protocol = "gunicorn", "HTTP/1.1"
    required = ("port", "prefix", "source", "application")
    # All gunicorn apps of a host run under one supervisord.
    unit = "tandem-supervisord"
    keeps_connections = True
    holds_watchers = True

    def sockets(self, instance: str, workers: int) -> list[str]:
        # Workers on a shared socket take what the kernel gives them: 261/69/37/33 of 400 connections. nginx gives
        # each of four sockets 100.
        return [f"{instance}-{worker}" for worker in range(workers)]

    def check_command(self, app: str) -> list[str]:
        return [".venv/bin/gunicorn", "--check-config", "--config", "deploy/gunicorn/config.py"]

    def checks(
        self, run: Path, instance: str, workers: int, bind: tuple[str, int] | None = None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        for worker, name in enumerate(self.sockets(instance, workers)):
            address = (bind[0], bind[1] + worker) if bind else run / f"{name}.sock"
            yield name, *get(address, "/health/ready")

    def metrics(self, run: Path, instance: str, bind: tuple[str, int] | None = None) -> str:
        return as_text(*read(bind or run / f"{self.sockets(instance, 1)[0]}.sock", "/health/metrics"))

    def served(self, run: Path, instance: str, workers: int) -> dict[int, tuple[str, str]]:
        answers = [get(run / f"{name}.sock", "/health/stats") for name in self.sockets(instance, workers)]
        return {
            body["pid"]: (str(body["requests"]), str(body["watchers"])) for status, body in answers if status == 200
        }
