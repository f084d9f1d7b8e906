"""Goodput against offered load. `python -m tests.chaos.goodput` measures it, and draws docs/goodput.svg.

The load is open: requests arrive at a fixed rate however long the responses take, as from many independent people. A
client that waits for each response slows down with the server and cannot overload it.
"""

import asyncio
import math
import os
import re
import resource
import signal
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from deploy.core.probe import UNCACHED
from tests import servers
from tests.environment import environment
from tests.sample import ENDPOINT, PAGE
from tests.stacks import PROJECT, NativeStack, directory

PATHS = {"site": PAGE, "api": ENDPOINT}
# Clients that measure the best rate, each with one request at a time: enough to keep every worker busy.
CLIENTS = 16
# Seconds after which a client disconnects. A later response is useless.
PATIENCE = 2.0
LOADS = (0.25, 0.5, 0.8, 1, 1.25, 1.6, 2.5, 5, 10)

Curve = list[tuple[float, float]]


class Client(asyncio.Protocol):
    """A kept-alive connection, in so few lines that one core sends ten thousand requests per second."""

    transport: asyncio.Transport | None = None
    asking = False

    def __init__(self, load: "OpenLoad") -> None:
        self.load = load

    def ask(self) -> None:
        self.asking, self.began, self.received = True, time.perf_counter(), b""
        if self.transport:
            self.transport.write(self.load.request)

    def end(self, how: str) -> None:
        self.asking = False
        self.load.seconds[how].append(time.perf_counter() - self.began)

    def give_up(self) -> None:
        self.end("gave up")
        if self.transport:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.asking:
            transport.write(self.load.request)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not (separator and self.asking):
            return
        _, length, rest = head.partition(b"\r\nContent-Length: ")
        # nginx sends its own error pages in chunks.
        if len(body) >= int(rest.partition(b"\r")[0]) if length else body.endswith(b"0\r\n\r\n"):
            status = head[9:12].decode()
            self.end("refused" if status == "503" and b"\r\nRetry-After: " in head else status)
            # nginx closes a connection after a thousand requests, and announces it.
            if self.transport and b"\r\nConnection: close" not in head:
                self.load.idle.append(self)
            self.load.next()

    def connection_lost(self, error: Exception | None) -> None:
        if self.asking:
            self.end(f"lost, {type(error).__name__}")
        elif self in self.load.idle:
            self.load.idle.remove(self)


class OpenLoad:
    """GETs of one address. `seconds` has the durations by outcome: "200", "refused" (503 with Retry-After), …"""

    def __init__(self, stack: NativeStack, path: str, patience: float) -> None:
        self.port, self.patience = stack.port, patience
        headers = {"Host": f"127.0.0.1:{self.port}"} | UNCACHED
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.request = "\r\n".join(lines).encode()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.idle: list[Client] = []
        # In the order of sending, which is also the order of the timeouts.
        self.waiting: deque[tuple[float, Client]] = deque()
        self.opening: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.until = 0.0

    async def at(self, rate: float, seconds: float) -> None:
        """Send requests at a rate. Return when each has an outcome.

        Requests that this process could not send in time are not sent later. `rate` is the actual rate.
        """
        began, passed = time.perf_counter(), 0.0
        while passed < seconds:
            last, passed = passed, time.perf_counter() - began
            for _ in range(int(min(passed, last + 0.01) * rate) - int(last * rate)):
                self.send()
            await self.tick()
        self.rate = self.sent / passed
        # Exclude responses after the end: the server worked on them without further load.
        self.goodput = len(self.seconds["200"]) / passed
        await self.finish()

    async def most(self, seconds: float) -> float:
        """Return the rate of good responses to CLIENTS clients that send the next request at once."""
        self.until = time.perf_counter() + seconds
        for _ in range(CLIENTS):
            self.send()
        await self.finish()
        return len(self.seconds["200"]) / seconds

    def next(self) -> None:
        if time.perf_counter() < self.until:
            self.send()

    def send(self) -> None:
        self.sent += 1
        client = self.idle.pop() if self.idle else Client(self)
        client.ask()
        self.waiting.append((client.began, client))
        if client.transport is None:
            task = asyncio.get_running_loop().create_task(self.open(client))
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    async def open(self, client: Client) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self.port)
        except OSError as error:
            if client.asking:
                client.end(f"no connection, {error.strerror}")

    async def tick(self) -> None:
        expired = time.perf_counter() - self.patience
        while self.waiting and self.waiting[0][0] < expired:
            began, client = self.waiting.popleft()
            if client.asking and client.began == began:
                client.give_up()
        await asyncio.sleep(0.002)

    async def finish(self) -> None:
        while self.sent > sum(map(len, self.seconds.values())):
            await self.tick()
        for client in self.idle:
            assert client.transport
            client.transport.abort()

    @property
    def failed(self) -> int:
        return self.sent - len(self.seconds["200"]) - len(self.seconds["refused"])


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


@contextmanager
def apart(stack: NativeStack) -> Iterator[None]:
    """For the block, give one core to the stack with its database servers, and another to this process.

    Otherwise the measurement shows how the scheduler divides the cores between the two.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise servers.Missing("a second core, for the load")
    processes = [
        *stack.processes(),
        *(each for server in servers.servers.values() for each in family(server.process.pid)),
    ]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        os.sched_setaffinity(0, cores[1:2])
        for process in processes:
            process.cpu_affinity(cores[:1])
        yield
    finally:
        os.sched_setaffinity(0, cores)
        for process in processes:
            # Of the current processes: workers may have ended, and others started.
            with suppress(psutil.NoSuchProcess):
                for each in family(process.pid):
                    each.cpu_affinity(cores)


def without_shedding(stack: NativeStack) -> None:
    """Remove max_conns from the running nginx, until `make up` writes its configuration again."""
    for app in PATHS:
        file = stack.var / f"nginx/{app}/http.conf"
        text, count = re.subn(r" max_conns=\d+", "", file.read_text())
        assert count
        file.write_text(text)
    os.kill(stack.pids()["nginx"], signal.SIGHUP)
    time.sleep(1)


def best(stack: NativeStack, app: str) -> float:
    # Returns when these few requests have responses, and therefore the queue before them is empty.
    asyncio.run(OpenLoad(stack, PATHS[app], patience=60).at(rate=20, seconds=0.5))
    return asyncio.run(OpenLoad(stack, PATHS[app], PATIENCE).most(seconds=2.5))


def curve(stack: NativeStack, app: str) -> Curve:
    """Return offered load and goodput, in units of the best rate measured just before and after."""
    points = []
    before = best(stack, app)
    for load in LOADS:
        offer = OpenLoad(stack, PATHS[app], PATIENCE)
        asyncio.run(offer.at(load * before, seconds=4))
        after = best(stack, app)
        unit, before = (before + after) / 2, after
        points.append((offer.rate / unit, offer.goodput / unit))
        outcome = ", ".join(f"{how} × {len(seconds):,}" for how, seconds in offer.seconds.items())
        print(
            f"{app:<5}{offer.rate:>7.0f}/s of {unit:.0f}/s offered, {offer.goodput:>5.0f}/s good   {outcome}",
            flush=True,
        )
    return points


STYLE = """
    svg { font: 13px system-ui, sans-serif; }
    .paper { fill: #fff; } text { fill: #24292f; } .grid { stroke: #d0d7de; }
    path { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    path.with { stroke: #0a62c9; } text.with { fill: #0a62c9; }
    path.without { stroke: #b4450c; stroke-dasharray: 6 4; } text.without { fill: #b4450c; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117; } text { fill: #e6edf3; } .grid { stroke: #30363d; }
      path.with { stroke: #6cb0ff; } text.with { fill: #6cb0ff; }
      path.without { stroke: #ff9a5c; } text.without { fill: #ff9a5c; }
    }
"""
# The size of one panel in pixels.
WIDTH, HEIGHT = 300, 200


def x(load: float) -> float:
    """Return the position on a logarithmic scale from a quarter to ten."""
    return WIDTH * math.log(load / LOADS[0]) / math.log(LOADS[-1] / LOADS[0])


def y(goodput: float) -> float:
    return HEIGHT * (1 - goodput / 1.2)


def panel(title: str, curves: dict[str, Curve]) -> str:
    parts = [f'<text x="{WIDTH / 2}" y="-12" text-anchor="middle" font-weight="600">{title}</text>']
    for tick in (0.0, 0.5, 1.0):
        parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="-8" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (0.25, 0.5, 1, 2, 5, 10):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{HEIGHT}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT + 18}" text-anchor="middle">{tick:g}</text>')
    for name, points in curves.items():
        line = " L".join(f"{x(min(load, LOADS[-1])):.1f} {y(goodput):.1f}" for load, goodput in points)
        parts.append(f'<path class="{name}" d="M{line}"/>')
    return "\n    ".join(parts)


def draw(measured: dict[str, dict[str, Curve]]) -> str:
    width, height = 2 * WIDTH + 160, HEIGHT + 130
    panels = "\n".join(
        f'  <g transform="translate({70 + number * (WIDTH + 60)} 70)">\n    {panel(f"the {app}", curves)}\n  </g>'
        for number, (app, curves) in enumerate(measured.items())
    )
    title = "Answers in time, against the load that is offered"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
  <title>{title}</title>
  <style>{STYLE}  </style>
  <rect class="paper" width="{width}" height="{height}"/>
  <text x="70" y="24" font-size="16" font-weight="600">{title}</text>
  <text class="with" x="{width - 30}" y="24" text-anchor="end">— shedding (max_conns)</text>
  <text class="without" x="{width - 30}" y="42" text-anchor="end">- - without it</text>
{panels}
  <text x="{width / 2}" y="{height - 14}" text-anchor="middle">load that is offered; 1 is the best rate</text>
  <text transform="translate(22 {70 + HEIGHT / 2}) rotate(-90)" text-anchor="middle">within {PATIENCE:g} s</text>
</svg>
"""


def main() -> None:
    with ExitStack() as stack_of, servers.postgresql() as database, servers.redis() as redis:
        files = stack_of.enter_context(directory())
        os.environ |= environment(str(files))
        stack = NativeStack(files, {"CORES": "1", "DATABASE_URL": database, "REDIS_URL": redis})
        measured: dict[str, dict[str, Curve]] = {app: {} for app in PATHS}
        try:
            stack.up()
            for name in ("with", "without"):
                if name == "without":
                    without_shedding(stack)
                with apart(stack):
                    for app in PATHS:
                        best(stack, app)
                        measured[app][name] = curve(stack, app)
        finally:
            stack.down()
    (PROJECT / "docs/goodput.svg").write_text(draw(measured))


if __name__ == "__main__":
    main()
