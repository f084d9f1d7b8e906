"""What is asked of a mode that is up, and what is measured meanwhile: the figures of one sample.

All are numbers by name: `rps` requests per second, `p50` and `p99` milliseconds, `cpu` microseconds of all cores for
each request, what the kernel did for it included, `memory` megabytes (PSS), `generator` the share of the cores that the
load generator had.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from websockets.asyncio.client import ClientConnection, connect

from deploy.terminal import Failed
from lab.mode import CORES, JOBS, LAB, Running

Figures = dict[str, float]
# Of wrk.
THREADS = 2
# Seconds of warm-up, not counted, and of a sample: more where a request takes longer.
WARM = 0.5
SECONDS = {"hello": 1, "static": 1, "page": 2, "json": 2}
# Clients that send a byte of their request now and then, the normal ones after them, and the seconds these wait.
SLOW, NORMAL, PATIENCE = 200, 10, 2.0
WATCHERS, CHANGES = 200, 4
# What voids a sample, as wrk.lua counts it.
FAULTS = {"wrong": "wrong answers", "socket": "socket errors", "timeout": "without an answer in 2 s"}


class Void(Exception):
    """Why a sample does not count."""


def busy() -> float:
    """Seconds that the machine's cores have worked: fcgiwrap's children, say, are in no process's account."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def warm_up(running: Running) -> None:
    """Asks on many connections at once, so that every process and thread has served before it counts."""
    until = time.monotonic() + WARM

    def ask(_: int) -> None:
        while time.monotonic() < until:
            running.get()

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(ask, range(8)))


def closed_loop(running: Running) -> Figures:
    """wrk: each connection asks again as soon as it has its answer. Raises Void."""
    expected = running.directory / "expected"
    expected.write_bytes(running.body)
    options = [
        f"-t{THREADS}",
        f"-c{running.mode.connections}",
        f"-d{SECONDS[running.job]}",
        "-s",
        str(LAB / "wrk.lua"),
        running.url,
    ]
    worked, generated = busy(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["wrk", *options, "--", str(expected), JOBS[running.job].varies], capture_output=True, text=True, check=False
    )
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk = usage.ru_utime + usage.ru_stime - generated.ru_utime - generated.ru_stime
    worked = busy() - worked
    if done.returncode:
        raise Failed(f"wrk failed: {done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    if faults := [f"{told[what]} {words}" for what, words in FAULTS.items() if told[what]]:
        raise Void(", ".join(faults))
    if not told["requests"]:
        raise Void("no answer")
    return {
        "rps": told["requests"] / told["seconds"],
        "p50": told["p50"],
        "p99": told["p99"],
        "cpu": 1e6 * max(worked - wrk, 0) / told["requests"],
        "memory": running.memory() / 1e6,
        "generator": wrk / told["seconds"] / CORES,
    }


@contextlib.contextmanager
def slow_clients(running: Running) -> Iterator[None]:
    """In the block SLOW clients are in the middle of their request, and send a byte of it five times a second."""
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


def beside_slow_clients(running: Running) -> Figures:
    """NORMAL requests, one after the other: how many got an answer in PATIENCE, and their p50."""
    waits: list[float] = []
    with slow_clients(running):
        # Two that get nothing are told from one that had bad luck; nobody has to wait for the other eight.
        while len(waits) < NORMAL and sum(wait >= PATIENCE for wait in waits) < 2:
            began = time.monotonic()
            status, body = running.get(PATIENCE)
            waits.append(time.monotonic() - began if (status, body) == (200, running.body) else PATIENCE)
    answered = sum(wait < PATIENCE for wait in waits)
    return {"answered": answered, "of": len(waits), "p50": 1e3 * statistics.median(waits)}


def watch(running: Running, database: Path) -> Figures:
    """WATCHERS on one question, changed CHANGES times: `p50` and `p99` until they are told, `memory` in kB each."""
    before = running.memory()

    async def until_told(watcher: ClientConnection, version: int, since: float) -> float:
        while json.loads(await watcher.recv())["version"] < version:
            pass
        return 1e3 * (time.perf_counter() - since)

    async def run() -> tuple[list[float], float]:
        url = f"ws://127.0.0.1:{running.port}/api/v1/live/questions/1/socket"
        async with contextlib.AsyncExitStack() as held, asyncio.timeout(30):
            watchers = [await held.enter_async_context(connect(url)) for _ in range(WATCHERS)]
            await asyncio.gather(*(until_told(watcher, 0, 0) for watcher in watchers))
            memory = running.memory() - before
            waits: list[float] = []
            for _ in range(CHANGES):
                version, since = change(database), time.perf_counter()
                waits += await asyncio.gather(*(until_told(watcher, version, since) for watcher in watchers))
        return waits, memory

    try:
        waits, memory = asyncio.run(run())
    except (OSError, TimeoutError, ValueError) as error:
        raise Void(f"not all told: {error or type(error).__name__}") from error
    hundredths = statistics.quantiles(waits, n=100)
    return {"p50": hundredths[49], "p99": hundredths[98], "memory": memory / 1e3 / WATCHERS}


def change(database: Path) -> int:
    """The question's new version: what a vote does to it."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        [(version,)] = connection.execute(
            "UPDATE polls_question SET version = version + 1 WHERE id = 1 RETURNING version"
        ).fetchall()
    return int(version)


def sample(running: Running, database: Path) -> Figures:
    """Raises Void."""
    if running.job == "slow":
        return beside_slow_clients(running)
    if running.job == "live":
        return watch(running, database)
    warm_up(running)
    return closed_loop(running)
