#!/usr/bin/env python3
"""How many cores this process may use. As a command it prints the number, which uWSGI's configuration reads.

A container with `cpus: 1.5` on a host of 64 cores sees 64 in `os.cpu_count()`; 128 workers in it would only take each
other's time. What counts is the affinity mask and the CPU quota of every control group above the process.
"""

import math
import os
import re
from pathlib import Path


def quota(cgroups: Path, membership: str) -> float:
    """Return the smallest CPU quota, in cores, of a process's control group and those above it, or infinity.

    `cgroups` is where they are mounted, `membership` the text of /proc/PID/cgroup. Source, for cpu.max (version 2) and
    cpu.cfs_quota_us (version 1): https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    smallest = math.inf
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "cpu.max"
        elif "cpu" in controllers.split(","):
            root, name = cgroups / "cpu", "cpu.cfs_quota_us"
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the path may be the host's and absent here: then the mounted root is the container's own.
        for directory in [group, *group.parents]:
            file = directory / name
            if file.is_file():
                limit, *period = file.read_text().split()
                if limit not in ("max", "-1"):
                    microseconds = period[0] if period else (directory / "cpu.cfs_period_us").read_text()
                    smallest = min(smallest, int(limit) / int(microseconds))
            if directory == root:
                break
    return smallest


def cores() -> int:
    """Return whole cores, rounded up, at least 1. The variable CORES overrides what the machine says."""
    if override := os.environ.get("CORES", ""):
        if not re.fullmatch(r"0*[1-9][0-9]*", override):
            raise SystemExit(f"CORES: {override!r} is not a whole number from 1 up")
        return int(override)
    usable = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(usable, quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text()))))


if __name__ == "__main__":
    print(cores())
