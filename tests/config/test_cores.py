"""The number of cores is what the process may use, not what the machine has."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.core import cores
from deploy.core.settings import PROJECT

V2 = "0::/system.slice/api.service\n"
V1 = "4:memory:/m\n2:cpu,cpuacct:/docker/abc\n0::/\n"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        (V2, {}, math.inf),
        (V2, {"system.slice/api.service/cpu.max": "150000 100000\n"}, 1.5),
        (V2, {"system.slice/api.service/cpu.max": "max 100000\n"}, math.inf),
        # A slice's quota limits everything in it. Here it is smaller than the service's own.
        (V2, {"system.slice/cpu.max": "50000 100000", "system.slice/api.service/cpu.max": "150000 100000"}, 0.5),
        # In a container the path is the host's, and the mounted directory is the container's own group.
        (V2, {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "150000", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 1.5),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "-1", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, math.inf),
    ],
)
def test_quota_is_the_smallest_above_the_process(
    tmp_path: Path, membership: str, files: dict[str, str], expected: float
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert cores.quota(tmp_path, membership) == expected


@pytest.mark.parametrize(
    ("usable", "quota", "expected"), [(1, math.inf, 1), (2, math.inf, 2), (8, math.inf, 8), (8, 1.5, 2), (8, 0.2, 1)]
)
def test_cores_are_what_affinity_and_quota_leave(
    monkeypatch: pytest.MonkeyPatch, usable: int, quota: float, expected: int
) -> None:
    # Stands in for machines of other sizes.
    monkeypatch.delenv("CORES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(usable)))
    monkeypatch.setattr(cores, "quota", lambda cgroups, membership: quota)
    assert cores.cores() == expected


def test_affinity_of_the_real_process_counts() -> None:
    command = [sys.executable, str(PROJECT / "deploy/core/cores.py")]
    environment = {name: value for name, value in os.environ.items() if name != "CORES"}
    one = subprocess.run(["taskset", "--cpu-list", "0", *command], env=environment, capture_output=True, check=True)
    assert one.stdout == b"1\n"


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_malformed_override_stops_with_a_line(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CORES", value)
    with pytest.raises(SystemExit, match=r"CORES: .* is not a whole number from 1 up"):
        cores.cores()
