"""The stack as people see it, at /stack/ and in `make status WATCH=1`: states, rates and ten minutes of history.

The collector (metrics.py) keeps it, from the metrics that Prometheus reads. It reads them once a second while anybody
looks, however many they are, and else every ten seconds for the history. Standard library only.
"""

import itertools
import re
import threading
import time
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from deploy.core.apps import APPS

# Seconds between two readings while the page is open, and after the last request until it counts as closed.
LOOK, LEFT = 1, 5
# Rates and durations are of the last WINDOW seconds.
WINDOW = 5
# Seconds of the history, and of one of its steps. One reading in each step is enough while the page is closed.
HISTORY, STEP = 600, 10
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]


class Counts(NamedTuple):
    """What a part of the stack has counted until a time: requests, those that failed, and those up to a duration."""

    requests: float
    failed: float
    buckets: tuple[tuple[float, float], ...] = ()


class Row(NamedTuple):
    """A part of the stack on a host, for people. `tone` is good, busy or bad. `trend` is requests per second."""

    part: str
    name: str
    host: str
    state: str
    tone: str
    workers: str
    figures: dict[str, str]
    trend: list[float]


Key = tuple[str, str]


def parse(text: str) -> Samples:
    """Return the samples of each name in the text format of Prometheus."""
    found: Samples = defaultdict(list)
    for line in text.splitlines():
        if match := SAMPLE.fullmatch(line):
            found[match[1]].append((dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return sum(value for own, value in samples.get(name, []) if labels.items() <= own.items())


def count(samples: Samples, name: str, **labels: str) -> Counts:
    """Return what a histogram has counted. Its buckets leave live connections out."""
    counted = [(own, value) for own, value in samples.get(f"{name}_count", []) if labels.items() <= own.items()]
    buckets: defaultdict[float, float] = defaultdict(float)
    for own, value in samples.get(f"{name}_bucket", []):
        # Live connections end when the client leaves, or when the instance drains.
        if labels.items() <= own.items() and "/live/" not in own.get("route", ""):
            buckets[float(own["le"])] += value
    return Counts(
        sum(value for _, value in counted),
        sum(value for own, value in counted if has_failed(own)),
        (*sorted(buckets.items()),),
    )


def quantile(share: float, now: Counts, before: Counts) -> float | None:
    """Return the duration, in seconds, that a share of the requests took at most; None without a request.

    Source: https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    earlier = dict(before.buckets)
    grown = [(bound, value - earlier.get(bound, 0)) for bound, value in now.buckets]
    if not grown or grown[-1][1] <= 0:
        return None
    rank, low, below = share * grown[-1][1], 0.0, 0.0
    for bound, value in grown:
        if value >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / ((value - below) or 1)
        low, below = bound, value
    return low


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{number(seconds * 1000)} ms" if seconds < 1 else f"{seconds:.1f} s"


class Stack:
    """The readings of the last ten minutes.

    `hosts` has the address of each host's metrics. It is empty for this one's, which `own` returns. `rows` and `page`,
    which `draw` makes of them, are those of the newest reading.
    """

    def __init__(self, own: Callable[[], str], hosts: Mapping[str, str], draw: Callable[[list[Row]], str]) -> None:
        self.own = own
        self.hosts = hosts
        self.draw = draw
        self.rows: list[Row] = []
        self.page = ""
        self.samples: dict[str, Samples] = {}
        self.lost: set[str] = set()
        # Every nginx and instance that was ever seen, with its app: those that ended have no metrics.
        self.edges: set[str] = set()
        self.known: dict[Key, str] = {}
        self.recent: deque[tuple[float, dict[Key, Counts]]] = deque(maxlen=2 * WINDOW // LOOK)
        self.steps: deque[tuple[float, dict[Key, Counts]]] = deque(maxlen=HISTORY // STEP + 1)
        self.changed = threading.Condition()
        self.has_redis = False
        self.readings = 0
        self.looked = float("-inf")

    def run(self) -> None:
        while True:
            began = time.monotonic()
            self.read()
            with self.changed:
                self.readings += 1
                self.changed.notify_all()
            while time.monotonic() < began + (LOOK if time.monotonic() < self.looked + LEFT else STEP):
                time.sleep(0.1)

    def wait(self, seen: int = 0) -> int:
        """Wait for a reading newer than number `seen`, made while the page is open. Return its number."""
        with self.changed:
            was_idle, self.looked = time.monotonic() > self.looked + LEFT, time.monotonic()
            if was_idle:
                seen = self.readings
            self.changed.wait_for(lambda: self.readings > seen, timeout=STEP)
            return self.readings

    def fetch(self, host: str) -> str:
        """Return the metrics of a host; empty if it does not answer."""
        with suppress(OSError):
            if not self.hosts[host]:
                return self.own()
            with urllib.request.urlopen(f"http://{self.hosts[host]}/metrics", timeout=STEP) as answer:
                return str(answer.read().decode())
        return ""

    def read(self) -> None:
        with ThreadPoolExecutor() as pool:
            found = dict(zip(self.hosts, pool.map(self.fetch, self.hosts), strict=True))
        self.lost = {host for host, text in found.items() if not text}
        self.samples |= {host: parse(text) for host, text in found.items() if text}
        self.edges |= {host for host, samples in self.samples.items() if "nginx_connections" in samples}
        for host, samples in self.samples.items():
            for name in ("instance_ready", "worker_processes"):
                self.known |= {(host, own["instance"]): own["app"] for own, _ in samples.get(name, [])}
        reading = time.monotonic(), self.counts()
        self.recent.append(reading)
        if not self.steps or reading[0] > self.steps[-1][0] + STEP - LOOK / 2:
            self.steps.append(reading)
        self.rows = self.make_rows()
        self.page = self.draw(self.rows)

    def counts(self) -> dict[Key, Counts]:
        found: dict[Key, Counts] = {}
        for host, samples in self.samples.items():
            failed = total(samples, "nginx_failed_requests_total")
            # Each reading is a request too.
            found[host, "nginx"] = Counts(total(samples, "nginx_requests_total") - self.readings, failed)
        for host, instance in self.known:
            app = APPS.get(self.known[host, instance])
            name = "http_request_duration_seconds" if not app or app.server.listens else "job_duration_seconds"
            found[host, instance] = count(self.samples[host], name, instance=instance)
        everywhere: Samples = defaultdict(list)
        for samples in self.samples.values():
            for name, values in samples.items():
                everywhere[name] += values
        found["", "database"] = count(everywhere, "database_query_seconds")
        found["", "redis"] = Counts(
            total(everywhere, "cache_reads_total"), total(everywhere, "cache_reads_total", result="miss")
        )
        return found

    def rates(self, key: Key) -> tuple[float, float, str, str, list[float]]:
        """Return requests per second, failures in ten minutes, p50, p99, and requests per second in each step."""
        at, counts = self.recent[-1]
        now = counts[key]
        since, old = next(((then, old) for then, old in reversed(self.recent) if then <= at - WINDOW), self.recent[0])
        before = old.get(key, now)
        rate = max(0, now.requests - before.requests) / ((at - since) or 1)
        steps = [*self.steps, self.recent[-1]]
        known = [(then, counts[key]) for then, counts in steps if key in counts]
        trend = [
            max(0, b.requests - a.requests) / (end - start)
            for (start, a), (end, b) in itertools.pairwise(known)
            if end - start > LOOK
        ]
        failed = max(0, now.failed - known[0][1].failed)
        p50, p99 = (duration(quantile(share, now, before)) for share in (0.5, 0.99))
        return rate, failed, p50, p99, trend

    def make_rows(self) -> list[Row]:
        """Return a row for nginx and each instance on each host, the database and Redis."""
        rows = [self.nginx(host) for host in sorted(self.edges)]
        # A host may have another release, with other apps.
        order = [*APPS, *self.known.values()]
        for host, instance in sorted(self.known, key=lambda each: (order.index(self.known[each]), each[1], each[0])):
            rows.append(self.instance(host, instance))
        return rows + [row for row in (self.backend("database"), self.backend("redis")) if row]

    def nginx(self, host: str) -> Row:
        rate, failed, _, _, trend = self.rates((host, "nginx"))
        samples = self.samples[host]
        release = next((own["release"] for own, _ in samples.get("release_info", [])), "")
        figures = {
            "req/s": number(rate),
            "failed": number(failed),
            "clients": number(total(samples, "nginx_connections")),
        }
        figures |= {"release": release} if release else {}
        serves = "nginx_connections" in samples and host not in self.lost
        state = ("serving", "good") if serves else ("no answer", "bad")
        return Row("nginx", "nginx", host, *state, "", figures, trend)

    def instance(self, host: str, name: str) -> Row:
        rate, failed, p50, p99, trend = self.rates((host, name))
        samples, app = self.samples[host], self.known[host, name]
        processes = total(samples, "worker_processes", instance=name)
        listens = any(own["instance"] == name for own, _ in samples.get("instance_ready", []))
        ready = total(samples, "instance_ready", instance=name) if listens else processes
        is_in = not listens or total(samples, "instance_in_rotation", instance=name)
        state = {
            (True, True): ("in rotation" if listens else "running", "good"),
            (True, False): ("out of rotation", "busy"),
            (False, False): ("out of rotation, not ready", "busy"),
            (False, True): ("not ready" if listens else "not running", "bad"),
        }[bool(ready), bool(is_in)]
        if host in self.lost:
            state = "no answer", "bad"
        if listens:
            figures = {"req/s": number(rate), "p50": p50, "p99": p99, "errors": number(failed)}
        else:
            figures = {"jobs/s": number(rate), "p99": p99, "failed": number(failed)}
            # The metric of a queue has the name of its app.
            figures["waiting"] = number(total(samples, app, instance=name, status="ready"))
        if processes:
            figures["memory"] = f"{total(samples, 'worker_resident_bytes', instance=name) / 1e6:.0f} MB"
        if any(own["instance"] == name for own, _ in samples.get("live_watchers", [])):
            figures["watchers"] = number(total(samples, "live_watchers", instance=name))
        if release := next((own["release"] for own, _ in samples.get("worker_processes", [])
                            if own["instance"] == name and own.get("release")), ""):  # fmt: skip
            figures["release"] = release
        busy = total(samples, "instance_workers", instance=name, state="busy")
        return Row(app, name, host, *state, "■" * int(busy) + "□" * int(processes - busy), figures, trend)

    def backend(self, name: str) -> Row | None:
        """Return the database's or Redis's row; None if there is no Redis."""
        states = [
            value
            for samples in self.samples.values()
            for own, value in samples.get("dependency_up", [])
            if own["dependency"] == name
        ]
        # Without an instance that answers, nothing is known of the two.
        self.has_redis |= name == "redis" and bool(states)
        if name == "redis" and not self.has_redis:
            return None
        rate, failed, p50, p99, trend = self.rates(("", name))
        if name == "database":
            figures = {"queries/s": number(rate), "p50": p50, "p99": p99}
        else:
            figures = {"reads/s": number(rate), "misses": number(failed)}
        state = ("reachable", "good") if any(states) else ("not reachable", "bad")
        return Row(name, name.capitalize(), "", *state, "", figures, trend)


def has_failed(labels: Mapping[str, str]) -> bool:
    return labels.get("status", "").startswith("5") or labels.get("result") == "failed"
