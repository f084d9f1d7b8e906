"""Put load on a running mode, and measure one sample.

The figures are numbers by name: `rps` in requests per second; `p50` and `p99` in milliseconds; `cpu` in microseconds of
all cores per request, including the kernel; `memory` in megabytes (PSS); `generator`, the load generator's share of the
cores.
"""

import asyncio
import contextlib
import json
import resource
import socket
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from websockets.asyncio.client import ClientConnection, connect

from deploy.core.console import Failed
from lab.mode import CORES, JOBS, LAB, Running

Figures = dict[str, float]
# Of the load generator, wrk.
THREADS = 2
# Seconds of the warm-up, and of a sample: longer for slower requests.
WARM = 0.5
SECONDS = {"hello": 1, "static": 1, "page": 2, "json": 2}
# Clients that send their request byte by byte; normal requests beside them, and the timeout of these in seconds.
SLOW, NORMAL, PATIENCE = 200, 10, 2.0
WATCHERS, CHANGES = 200, 4
# The errors that void a sample, as summary.lua counts them.
FAULTS = {"wrong": "wrong answers", "socket": "socket errors", "timeout": "without an answer in 2 s"}


class Void(Exception):
    """The reason why a sample does not count."""


def cpu_seconds() -> float:
    """Return the CPU time of the whole machine: the times of the processes lack fcgiwrap's children, for example."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def warm_up(running: Running) -> None:
    """Send requests on eight connections, so that every process and thread has served before the sample."""
    until = time.monotonic() + WARM

    def ask(_: int) -> None:
        while time.monotonic() < until:
            running.get()

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(ask, range(8)))


def wrk(script: str, url: str, connections: int, seconds: int, *arguments: str, options: Sequence[str] = ()) -> Figures:
    """Run wrk, whose connections each send a request as soon as they have the last answer. Raises Void."""
    command = ["wrk", f"-t{THREADS}", f"-c{connections}", f"-d{seconds}", "-s", str(LAB / script), *options]
    # The scripts find summary.lua here.
    done = subprocess.run([*command, url, "--", *arguments], cwd=LAB, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"wrk failed: {done.stderr}")
    result: Figures = json.loads(done.stdout.splitlines()[-1])
    if faults := [f"{result[what]} {words}" for what, words in FAULTS.items() if result[what]]:
        raise Void(", ".join(faults))
    if not result["requests"]:
        raise Void("no answer")
    return result


def run_wrk(running: Running) -> Figures:
    """Raises Void."""
    expected, job = running.directory / "expected", running.job
    expected.write_bytes(running.body)
    worked, generated = cpu_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = wrk("wrk.lua", running.url, running.mode.connections, SECONDS[job], str(expected), JOBS[job].varies)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = usage.ru_utime + usage.ru_stime - generated.ru_utime - generated.ru_stime
    worked = cpu_seconds() - worked
    return {
        "rps": result["requests"] / result["seconds"],
        "p50": result["p50"],
        "p99": result["p99"],
        "cpu": 1e6 * max(worked - own, 0) / result["requests"],
        "memory": running.memory() / 1e6,
        "generator": own / result["seconds"] / CORES,
    }


@contextlib.contextmanager
def slow_clients(running: Running) -> Iterator[None]:
    """In the block, SLOW clients are in the middle of a request, and send a byte of it five times per second."""
    clients = [socket.create_connection(("127.0.0.1", running.port), 5) for _ in range(SLOW)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.2):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        stop.set()
        thread.join()
        for client in clients:
            client.close()


def measure_beside_slow_clients(running: Running) -> Figures:
    """Send NORMAL requests one after another. Count those answered within PATIENCE, and measure their p50."""
    waits: list[float] = []
    with slow_clients(running):
        # One timeout may be bad luck. Two are enough, and save waiting for the other eight.
        while len(waits) < NORMAL and sum(wait >= PATIENCE for wait in waits) < 2:
            began = time.monotonic()
            status, body = running.get(PATIENCE)
            waits.append(time.monotonic() - began if (status, body) == (200, running.body) else PATIENCE)
    answered = sum(wait < PATIENCE for wait in waits)
    return {"answered": answered, "of": len(waits), "p50": 1e3 * statistics.median(waits)}


def measure_watchers(running: Running, database: Path) -> Figures:
    """Change a question with WATCHERS watchers CHANGES times: the delay until they receive it, and kB per watcher."""
    before = running.memory()

    async def receive_version(watcher: ClientConnection, version: int, since: float) -> float:
        while json.loads(await watcher.recv())["version"] < version:
            pass
        return 1e3 * (time.perf_counter() - since)

    async def run() -> tuple[list[float], float]:
        url = f"ws://127.0.0.1:{running.port}/api/v1/live/questions/1/socket"
        async with contextlib.AsyncExitStack() as held, asyncio.timeout(30):
            watchers = [await held.enter_async_context(connect(url)) for _ in range(WATCHERS)]
            await asyncio.gather(*(receive_version(watcher, 0, 0) for watcher in watchers))
            memory = running.memory() - before
            waits: list[float] = []
            for _ in range(CHANGES):
                version, since = change_question(database), time.perf_counter()
                waits += await asyncio.gather(*(receive_version(watcher, version, since) for watcher in watchers))
        return waits, memory

    try:
        waits, memory = asyncio.run(run())
    except (OSError, TimeoutError, ValueError) as error:
        raise Void(f"not every watcher received the change: {error or type(error).__name__}") from error
    hundredths = statistics.quantiles(waits, n=100)
    return {"p50": hundredths[49], "p99": hundredths[98], "memory": memory / 1e3 / WATCHERS}


def change_question(database: Path) -> int:
    """Increment the question's version as a vote does, and return it."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        [(version,)] = connection.execute(
            "UPDATE polls_question SET version = version + 1 WHERE id = 1 RETURNING version"
        ).fetchall()
    return int(version)


def measure(running: Running, database: Path) -> Figures:
    """Raises Void."""
    if running.job == "slow":
        return measure_beside_slow_clients(running)
    if running.job == "live":
        return measure_watchers(running, database)
    warm_up(running)
    return run_wrk(running)
