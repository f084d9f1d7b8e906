"""Thousands of idle or slow connections do not affect other clients."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deploy.core.probe import UNCACHED
from tests.chaos.table import Record
from tests.sample import ENDPOINT, PAGE, Crowd, write_on_site
from tests.stacks import PROJECT, NativeStack

ALL = 5000
# Bytes; more than the buffers of the sockets hold.
LARGE = 8_000_000


class Slow:
    """The process of tests/chaos/slow.py, and its last report."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.state: dict[str, Any] = {"here": {}}
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.state = json.loads(line)

    def wait_until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition(self.state):
            assert self.process.poll() is None
            assert time.monotonic() < deadline, self.state
            time.sleep(0.1)


@contextmanager
def slow_clients(stack: NativeStack, file: str) -> Iterator[Slow]:
    command = [sys.executable, "-m", "tests.chaos.slow", str(stack.port), file, str(ALL)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Slow(process)
        finally:
            process.terminate()


def here(state: dict[str, Any]) -> int:
    return sum(state["here"].values())


def test_five_thousand_slow_or_idle_connections(stack: NativeStack, crowd: Crowd, record: Record, short: bool) -> None:
    file = stack.var / "static/large.bin"
    file.write_bytes(bytes(LARGE))
    file.chmod(0o644)
    paths = ("/_errors/error.css", PAGE, ENDPOINT)
    alone: dict[str, list[float]] = {path: [] for path in paths}
    beside: dict[str, list[float]] = {path: [] for path in paths}
    answers: Counter[str] = Counter()
    writers = iter(crowd.people)

    def everybody_else(seconds: dict[str, list[float]]) -> None:
        """Several readers and one writer."""
        with stack.client(timeout=10, headers=UNCACHED) as client:
            for _ in range(40):
                for path in paths:
                    began = time.perf_counter()
                    answers[f"GET {client.get(path).status_code}"] += 1
                    seconds[path].append(time.perf_counter() - began)
        with next(writers).client() as writer:
            answers[f"write {write_on_site(writer).status_code}"] += 1

    with stack.client() as client:
        before = client.get(ENDPOINT).json()["version"]
    try:
        for _ in range(1 if short else 2):
            for _ in range(4):
                everybody_else(alone)
            with slow_clients(stack, "/static/large.bin") as slow:
                slow.wait_until(lambda state: here(state) >= ALL)
                # Longer than 10 s, after which nginx disconnects a client that has not sent all headers.
                until = time.monotonic() + 11
                while time.monotonic() < until:
                    everybody_else(beside)
                    assert here(slow.state) > 0.9 * ALL, slow.state
                slow.wait_until(lambda state: bool(state["versions"][0] >= before + answers["write 302"]))
                state = slow.state
    finally:
        file.unlink()
    ratios = {path: statistics.median(beside[path]) / statistics.median(alone[path]) for path in paths}
    failed = answers.total() - answers["GET 200"] - answers["write 302"]
    times = ", ".join(f"{ratio:.2f}" for ratio in ratios.values())
    cut = sum(state["cut"].values())
    note = f"median time × {times} (file, page, endpoint); {cut:,} that asked for nothing were cut"
    record("5,000 slow or idle connections", answers.total(), failed, 0, None, note)
    assert not failed, answers
    assert not state["failed"], state["failed"]
    # Clients that never send a request.
    assert {"silent", "slow header"} <= state["cut"].keys(), state
    assert max(ratios.values()) < 3, note
