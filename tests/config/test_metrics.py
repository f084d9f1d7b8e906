"""The files of metrics, which outlive their processes, and what the deployment adds to them."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from deploy.core import metrics
from deploy.core.apps import INSTANCES
from tests.environment import PROJECT
from tests.faults import self_signed

# Counts 3, has 2 watchers, and prints what it reads when its input ends.
PROGRAM = """
import resource, sys
from pathlib import Path
from tornado_api import metrics
if "full" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
metrics.keep(Path(sys.argv[1]), "api", "api-a")
metrics.mine(metrics.counter("votes", "Votes")).inc(3)
metrics.mine(metrics.gauge("watchers", "Watchers")).set(2)
print("ready", flush=True)
sys.stdin.read()
print(metrics.read().decode())
"""


class Worker:
    def __init__(self, directory: Path, *words: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(directory), *words]
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()

    def end(self) -> tuple[dict[str, float], str]:
        """Return what it reads, and its log."""
        text, log = self.process.communicate()
        # Every process shows itself and its memory.
        lines = [line.split() for line in text.splitlines() if line and not line.startswith(("#", "worker_"))]
        return {line[0].partition("{")[0]: float(line[1]) for line in lines}, log


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(*words: str) -> Worker:
            worker = Worker(tmp_path / "metrics", *words)
            stack.callback(worker.process.kill)
            return worker

        yield started


@pytest.mark.parametrize("name", ["metrics.py", "sentry.py", "traces.py"])
def test_apps_have_the_same_file(name: str) -> None:
    assert (PROJECT / "tornado_api" / name).read_text() == (PROJECT / "django_site/config" / name).read_text()


@pytest.mark.slow
def test_counts_outlive_a_killed_process_and_gauges_do_not(start: Start, tmp_path: Path) -> None:
    first, second = start(), start()
    first.process.kill()
    first.process.wait()
    assert second.end() == ({"votes_total": 6, "watchers": 2}, "")
    # It continues the files of the first.
    assert start().end() == ({"votes_total": 9, "watchers": 2}, "")
    assert len(list((tmp_path / "metrics").glob("counter_*.db"))) == 2


@pytest.mark.slow
def test_a_half_written_file_is_replaced(start: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/counter_api-a-0.db").write_bytes(b"\xff\x00\x00\x00" * 1000)
    assert start().end() == ({"votes_total": 3, "watchers": 2}, "")


@pytest.mark.slow
def test_a_process_works_without_space_for_its_files(start: Start) -> None:
    figures, log = start("full").end()
    assert figures == {}
    assert "no metrics: " in log


def test_a_machine_on_which_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.delenv("BIND", raising=False)
    lines = metrics.exposition().splitlines()
    for instance in INSTANCES.values():
        line = f'instance_ready{{app="{instance.app.name}",instance="{instance.name}"}} 0.0'
        assert (line in lines) == instance.server.listens
    monkeypatch.setenv("GROUPS", "edge")
    assert "instance_ready" not in metrics.exposition()


def test_the_expiry_of_a_certificate(tmp_path: Path) -> None:
    file = self_signed(tmp_path)["TLS_CERTIFICATE"]
    # openssl's default.
    assert abs(metrics.expiry(file) - time.time() - 30 * 86400) < 60
    assert metrics.expiry(str(tmp_path / "none.pem")) == 0


def test_the_configuration_for_prometheus() -> None:
    [job] = yaml.safe_load(metrics.prometheus_configuration({"a": "10.0.0.1:9145", "b": "10.0.0.2:9145"}))[
        "scrape_configs"
    ]
    assert job["honor_labels"]
    assert job["static_configs"] == [
        {"targets": ["10.0.0.1:9145"], "labels": {"host": "a"}},
        {"targets": ["10.0.0.2:9145"], "labels": {"host": "b"}},
    ]
