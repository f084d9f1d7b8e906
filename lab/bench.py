"""`make bench`: the figures of docs/performance.md, measured in one run beside their peers.

Both sides of a ratio are measured one after the other in each round, because a machine's speed drifts. Every response
is checked. CPU times are of the servers and the database, so other work on the machine matters less.
"""

import asyncio
import itertools
import json
import os
import random
import resource
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import httpx
import psutil
import psycopg
from channels_redis.core import RedisChannelLayer
from redis import Redis

from deploy.core.console import Failed, table
from lab import load
from lab.__main__ import describe_machine
from lab.mode import CONNECTIONS, JOBS, LAB, PROCESSES, Running, put_behind_nginx, read_all
from tests import servers
from tests.chaos import goodput
from tests.environment import environment
from tests.sample import ENDPOINT, LIVE, PAGE, Crowd
from tests.stacks import NativeStack, directory
from tornado_api.bus import CHANNEL

ALONE = LAB / "apps/pages_alone.py"
LIST = "/api/v1/questions"
# The stack trusts a proxy on this machine, so that each vote can have an address of its own.
AS_PROXY = {"X-Forwarded-Proto": "https"}
ROUNDS, SECONDS = 3, 2
# Prepared for each measurement: more than can be sent in its time.
VOTES = 7000
# Few enough for the 2,048 connections of each worker of nginx in lab/frames.
WATCHERS, FEW, CHANGES = 10_000, 500, 10
# Seconds to wait for a message to all.
PATIENCE = 20
DAPHNES = [f"daphne{number}.sock" for number in range(PROCESSES)]
BEFORE_DAPHNES = f"""
upstream app {{
    least_conn;
    {" ".join(f"server unix:${{VAR_DIR}}/{name};" for name in DAPHNES)}
}}
server {{
    listen 127.0.0.1:${{FRONT}};
    location / {{
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }}
}}
"""


class Load(NamedTuple):
    """Requests or messages per second, and microseconds of the servers' CPU for each."""

    rate: float
    cpu: float


Measure = Callable[[], Load]
Target = NativeStack | Running


def databases() -> list[psutil.Process]:
    return [each for server in servers.servers.values() for each in goodput.family(server.process.pid)]


def cpu(of: Iterable[psutil.Process]) -> float:
    """Return the CPU time of processes, and of those below them that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in of if process.is_running())


def memory(target: NativeStack) -> float:
    return float(sum(process.memory_full_info().pss for process in target.processes()))


def measure_reads(target: Target, path: str, cookie: str = "", like: Target | None = None) -> Load:
    """Read a path. Every body has to be as that of `like`, or as the first one."""
    url, headers = f"http://127.0.0.1:{target.port}{path}", AS_PROXY | ({"Cookie": cookie} if cookie else {})
    with httpx.Client(headers=headers) as client:
        for _ in range(4 * PROCESSES):  # a warm-up, too
            body = client.get(url).raise_for_status().content
        if like:
            body = client.get(f"http://127.0.0.1:{like.port}{path}").content
    return run_wrk(target, url, headers, "wrk.lua", body, JOBS["page"].varies)


def measure_votes(stack: NativeStack, crowd: Crowd, kind: str, status: int) -> Load:
    """Cast votes, each from an address of its own, because nginx limits the writes of an address."""
    url, requests, writes = f"http://127.0.0.1:{stack.port}", [], crowd.writes()
    for _ in range(VOTES):
        target, headers, body = next(writes).request(kind)
        address = ".".join(["10", *(str(random.randrange(256)) for _ in range(3))])  # noqa: S311
        headers |= AS_PROXY | {"X-Forwarded-For": address, "Host": url[7:], "Origin": url.replace("http", "https")}
        headers |= {"Content-Length": str(len(body))}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        requests.append("\r\n".join(lines).encode() + body)
    return run_wrk(stack, url, {}, "votes.lua", b"\0".join(requests), str(status), str(load.THREADS))


def run_wrk(target: Target, url: str, headers: dict[str, str], script: str, text: bytes, *arguments: str) -> Load:
    """Run a script of wrk, which gets a file with `text` and the arguments."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        found = [*target.processes(), *databases()]
        before = cpu(found)
        # On a busy machine a request may take longer than wrk's own timeout.
        options = ["--timeout=10s", *(f"-H{name}: {value}" for name, value in headers.items())]
        done = load.wrk(script, url, CONNECTIONS, SECONDS, file.name, *arguments, options=options)
        return Load(done["requests"] / done["seconds"], 1e6 * (cpu(found) - before) / done["requests"])


class Watchers:
    """Clients that read as little as they can: with a task for each, this process would be the bottleneck."""

    def __init__(self, target: Target, path: str, count: int, upgrade: bool) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
        if upgrade:
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            head += f"Sec-WebSocket-Key: {'A' * 22}==\r\n"
        self.events, self.clients, self.held = select.epoll(), [], 0
        for _ in range(0, count, 100):
            for _ in range(100):
                client = socket.create_connection(("127.0.0.1", target.port))
                client.sendall(f"{head}\r\n".encode())
                self.events.register(client, select.EPOLLIN)
                self.clients.append(client)
            self.held += len(self.receive(b" 101 " if upgrade else b" 200 ", 100))

    def receive(self, marker: bytes, count: int) -> list[float]:
        """Wait for messages with a marker. Return when they came, in seconds; fewer if no more come."""
        times: list[float] = []
        until = time.monotonic() + PATIENCE
        while len(times) < count and time.monotonic() < until:
            for file, _ in self.events.poll(1):
                data = os.read(file, 65536)
                if marker in data:
                    times.append(time.perf_counter())
                elif not data:
                    self.events.unregister(file)
        return times

    def measure(self, target: Target, change: Callable[[], int]) -> tuple[Load, list[float]]:
        """Make changes. Return the load of sending, and the seconds from each change to each message. Raises Void."""
        waits, last = [], []
        found = [*target.processes(), *databases()]
        before = cpu(found)
        for _ in range(CHANGES):
            version, began = change(), time.perf_counter()
            times = self.receive(b'"version":%d,' % version, self.held)
            if len(times) < self.held:
                raise load.Void(f"{len(times)} of {self.held} watchers got a change")
            waits += [each - began for each in times]
            last.append(times[-1] - began)
            time.sleep(0.2)
        messages = self.held * CHANGES
        return Load(self.held / statistics.median(last), 1e6 * (cpu(found) - before) / messages), waits

    def close(self) -> None:
        for client in self.clients:
            client.close()


def text(values: Iterable[float]) -> str:
    """Return the median and the range."""
    values = sorted(values)
    return f"{statistics.median(values):.2f} [{values[0]:.2f}–{values[-1]:.2f}]"


class Bench:
    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = [("figure", "goal", "measured", "by CPU", "CPU per request")]

    def add(self, *row: str) -> None:
        self.rows.append((*row, *[""] * (5 - len(row))))
        print(f"  {'  '.join(row)}", flush=True)

    def compare(self, figure: str, goal: str, first: Measure, second: Measure) -> None:
        """Add the ratio of two rates, and that of CPU times. A round with a wrong or late answer does not count."""
        pairs = []
        for _ in range(ROUNDS):
            try:
                pairs.append((first(), second()))
            except load.Void as void:
                print(f"  a round of {figure} is void: {void}")
        if not pairs:
            self.add(figure, goal, "void")
            return
        cpus = [statistics.median(each.cpu for each in side) for side in zip(*pairs, strict=True)]
        self.add(
            figure,
            goal,
            text(one.rate / other.rate for one, other in pairs),
            text(other.cpu / one.cpu for one, other in pairs),
            f"{cpus[0]:,.0f} and {cpus[1]:,.0f} µs",
        )


def measure_goodput(bench: Bench, stack: NativeStack) -> None:
    """Add the share of the best rate that is served at ten times that rate, on one core with the load on another."""
    with goodput.apart(stack):
        for app, path in goodput.PATHS.items():
            shares = []
            before = goodput.best(stack, app)
            for _ in range(ROUNDS):
                offer = goodput.OpenLoad(stack, path, goodput.PATIENCE)
                asyncio.run(offer.at(10 * before, seconds=4))
                after = goodput.best(stack, app)
                shares.append(2 * offer.goodput / (before + after))
                before = after
            bench.add(f"goodput at ten times the best rate ÷ best rate, {app}", "≥ 0.9", text(shares))


def measure_page(bench: Bench, stack: NativeStack) -> None:
    """Add the gain of nginx's cache, and the share of a page's CPU time in which the app makes it."""
    uncached = partial(measure_reads, stack, PAGE, cookie="a=b")
    bench.compare("anonymous page ÷ the same uncached", "≥ 20", partial(measure_reads, stack, PAGE), uncached)
    shares = []
    for _ in range(ROUNDS):
        alone = make_pages(stack)
        shares.append(alone / uncached().cpu)
    bench.add("page made in-process ÷ served", "≥ 0.85", "", text(shares), f"{alone:,.0f} µs in-process")


def make_pages(stack: NativeStack) -> float:
    """Return the microseconds of CPU for a page that no server sends.

    As many processes make pages as the stack has workers, because processes slow each other down.
    """
    found = databases()
    before = cpu(found)
    with ThreadPoolExecutor(PROCESSES) as pool:
        arguments = ("shell", "--verbosity=0", "--command", ALONE.read_text())
        said = [pool.submit(stack.manage, *arguments) for _ in range(PROCESSES)]
    pages, counts = zip(*(map(float, each.result().split()) for each in said), strict=True)
    return float(statistics.mean(pages) + 1e6 * (cpu(found) - before) / sum(counts))


def measure_watchers(bench: Bench, stack: NativeStack, database: str, redis: str) -> None:
    """Add what WATCHERS watchers cost."""
    before = memory(stack)
    watchers = Watchers(stack, f"{LIVE}/events", WATCHERS, upgrade=False)
    each = (memory(stack) - before) / 1000 / watchers.held
    sent, waits = watchers.measure(stack, lambda: change(database, redis))
    watchers.close()
    bench.add("watchers held, server-sent events", f"{WATCHERS:,}", f"{watchers.held:,}")
    bench.add("memory of a watcher, api and nginx", "≤ 28 kB", f"{each:.1f} kB")
    p99 = statistics.quantiles(waits, n=100)[98]
    bench.add("commit to screen, p99", "≤ 0.35 s", f"{p99:.2f} s", "", f"{sent.cpu:,.0f} µs per message")


def change(database: str, redis: str) -> int:
    """Change the question as a vote does, and return its new version."""
    with psycopg.connect(database) as connection:
        [(version,)] = connection.execute(
            "UPDATE polls_question SET version = version + 1 WHERE id = 1 RETURNING version"
        ).fetchall()
    Redis.from_url(redis).publish(CHANNEL, f"polls:{LIVE.rpartition('/')[2]}")
    return int(version)


def measure_messages(bench: Bench, stack: NativeStack, daphne: Running, database: str, redis: str) -> None:
    """Add the messages per second to WebSockets beside Channels, which reads no database here."""
    state = httpx.get(f"http://127.0.0.1:{stack.port}{ENDPOINT}").json()
    versions = itertools.count(1)

    def send() -> int:
        version = next(versions)
        message = {"type": "changed", "text": json.dumps(state | {"version": version}, separators=(",", ":"))}
        asyncio.run(RedisChannelLayer(hosts=[redis]).group_send("polls", message))
        return version

    def measure(target: Target, path: str, make: Callable[[], int]) -> Load:
        # These clients answer no ping, so they do not stay connected for long.
        watchers = Watchers(target, path, FEW, upgrade=True)
        sent, _ = watchers.measure(target, make)
        watchers.close()
        return sent

    bench.compare(
        "messages to WebSockets ÷ Channels and Daphne, with Redis groups",
        "≥ 12",
        partial(measure, stack, f"{LIVE}/socket", partial(change, database, redis)),
        partial(measure, daphne, "/", send),
    )


def main() -> None:
    began, bench, modes = time.monotonic(), Bench(), read_all()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    starlette = put_behind_nginx(modes["starlette"])
    psycopg_pool = replace(
        starlette,
        title="Starlette and psycopg_pool",
        run=(starlette.run[0].replace("serve:", "starlette_psycopg:"), *starlette.run[1:]),
    )
    daphne = put_behind_nginx(
        replace(
            modes["channels"],
            files={"site.conf": BEFORE_DAPHNES},
            run=tuple(f"daphne -v 0 -u {name} channels_groups:application" for name in DAPHNES),
        )
    )
    with ExitStack() as held:
        postgresql, redis = held.enter_context(servers.postgresql()), held.enter_context(servers.redis())
        files, peers = held.enter_context(directory()), held.enter_context(directory())
        for name in ("static", "media"):  # which every mode expects
            (peers / name).mkdir()
        os.environ |= environment(str(files))
        stack = NativeStack(files, {"LIVE_PER_ADDRESS": "20000", "TRUSTED_PROXIES": "127.0.0.1"})
        held.callback(stack.down)
        for database, peer, goal in (("SQLite", starlette, "≥ 2"), ("PostgreSQL", psycopg_pool, "≥ 1.1")):
            if database == "PostgreSQL":
                stack.environment |= {"DATABASE_URL": postgresql, "REDIS_URL": redis}
            stack.up()
            with peer.start("json", peers, DATABASE_URL=stack.setting("DATABASE_URL")) as running:
                for path in (ENDPOINT, LIST):
                    bench.compare(
                        f"{path.rpartition('/')[2]}, {database} ÷ {peer.title}",
                        goal,
                        partial(measure_reads, stack, path),
                        partial(measure_reads, running, path, like=stack),
                    )
        measure_page(bench, stack)
        crowd = Crowd.gather(stack)
        bench.compare(
            "votes ÷ votes by the site's form, PostgreSQL",
            "≥ 3",
            partial(measure_votes, stack, crowd, "api write", 201),
            partial(measure_votes, stack, crowd, "site write", 302),
        )
        measure_watchers(bench, stack, postgresql, redis)
        with daphne.start("hello", peers, REDIS_URL=redis) as running:
            measure_messages(bench, stack, running, postgresql, redis)
        # Without a proxy in front, its load is answered and not redirected to HTTPS.
        stack.environment |= {"CORES": "1", "TRUSTED_PROXIES": ""}
        stack.up()
        measure_goodput(bench, stack)
    machine = describe_machine()
    print(f"\n{machine['cores']} cores, {machine['processor']}; {ROUNDS} rounds in {time.monotonic() - began:.0f} s\n")
    table(bench.rows)


if __name__ == "__main__":
    try:
        main()
    except (Failed, load.Void, servers.Missing) as failed:
        sys.exit(f"\n✗ {failed}")
