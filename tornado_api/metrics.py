"""Metrics for Prometheus. Each process keeps its own in files, and any process reads the files of the whole machine.

Each app has a copy of this file, because apps import nothing from each other.

A process continues the files of one that has ended. So no count is lost when a worker is killed or an instance
restarts, and there are never more files than there were processes at a time. A lock shows which process has ended.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=MetricWrapperBase)

# On hosts, each release is a directory.
RELEASE = next((each.name for each in Path(__file__).resolve().parents if each.parent.name == "releases"), None)
# The first labels of each metric.
OF_PROCESS = ("app", "instance")
# Seconds.
BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10)
# Bytes of a file of each kind. The histogram of requests takes 3 kB for a route, method and status. The file's blocks
# are allocated first: on a full disk, the kernel kills a process that writes to a mapped page without a block.
SIZES = {"counter": 2**16, "gauge_livesum": 2**16, "histogram": 2**19}


# No registry has them: the files do.
def counter(name: str, help: str, *labels: str) -> Counter:
    return Counter(name, help, (*OF_PROCESS, *labels), registry=None)


def gauge(name: str, help: str, *labels: str) -> Gauge:
    """Return a metric whose sum over the processes that have not ended is of interest."""
    return Gauge(name, help, (*OF_PROCESS, *labels), multiprocess_mode="livesum", registry=None)


def histogram(name: str, help: str, *labels: str) -> Histogram:
    """Return a metric of times in seconds."""
    return Histogram(name, help, (*OF_PROCESS, *labels), buckets=BUCKETS, registry=None)


REQUESTS = histogram("http_request_duration_seconds", "Requests by their pattern", "method", "route", "status")
QUERIES = histogram("database_query_seconds", "Statements and transactions")
WORKERS = gauge("worker_processes", "Processes that do the work", "release")
MEMORY = gauge("worker_resident_bytes", "Memory of these processes")

shown_at = float("-inf")

identity: tuple[str, ...] = ("", "")
folder = Path()
children: dict[Any, Any] = {}


def mine(metric: M, *labels: str) -> M:
    """Return a metric of this process. `labels` are the values of its own labels: never what a client chose."""
    key = (metric, labels)
    if key not in children:
        children[key] = metric.labels(*identity, *labels)
    found: M = children[key]
    return found


def show_worker() -> None:
    """Show that this process works, and its memory, at most once a second."""
    global shown_at
    if (now := time.monotonic()) > shown_at + 1:
        shown_at = now
        mine(WORKERS, RELEASE or "").set(1)
        # The second number of statm is in pages (proc(5)).
        mine(MEMORY).set(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def keep(directory: Path, app: str, instance: str) -> None:
    """Keep the metrics of this process, from now on, in files of a directory that all processes share.

    Without space for them, the process keeps its metrics to itself.
    """
    global folder, identity
    folder, identity = directory, (app, instance)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        name = take_name(instance)
        # Gauges of a process that has ended are about that process.
        (directory / f"gauge_livesum_{name}.db").unlink(missing_ok=True)
        for kind, size in SIZES.items():
            reserve(directory / f"{kind}_{name}.db", size)
    except OSError as error:
        logger.warning("no metrics: %s", error)
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]
    show_worker()


def reserve(file: Path, size: int) -> None:
    """Make a file of this size, or continue one. Raises OSError without space."""
    with file.open("a+b") as content:
        os.posix_fallocate(content.fileno(), 0, size)
    try:
        list(MmapedDict.read_all_values_from_file(str(file)))  # type: ignore[no-untyped-call]
    except Exception:
        # Any exception: the host lost power, and the file was half written.
        file.write_bytes(bytes(size))


def take_name(instance: str) -> str:
    """Return a name for this process's files, such as site-a-1, that no other process has until this one ends."""
    for number in count():
        file = os.open(folder / f"{instance}-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return f"{instance}-{number}"
        except BlockingIOError:
            os.close(file)
    raise AssertionError


@contextmanager
def without_owner(lock: Path) -> Iterator[bool]:
    """Yield whether the process of this name has ended. No other process takes the name during the block."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False


def read() -> bytes:
    """Return the metrics of all processes of this machine, in the text format of Prometheus."""
    for lock in folder.glob("*.lock"):
        with without_owner(lock) as ended:
            if ended:
                # Its gauges say how many watchers it has, not how many it had.
                mark_process_dead(lock.stem, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)
