"""`make lab`, `make lab MODE=…` and `make lab-list`."""

import argparse
import contextlib
import json
import platform
import random
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from deploy.env import PROJECT, VAR
from deploy.terminal import Failed, step, table
from lab import load, site
from lab.load import Void
from lab.mode import CORES, FAMILIES, JOBS, PROCESSES, Mode, Running, find, read_all
from lab.report import as_html, as_markdown
from lab.results import Results, Sample

HOME = VAR / "lab"
# The reference is measured again after as many modes, a quarter of a minute.
GROUP = 5


def machine() -> dict[str, Any]:
    processor = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cores": CORES,
        "processor": processor[1] if processor else platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def take(running: Running, number: int) -> Sample:
    try:
        figures = load.sample(running, HOME / "db.sqlite3")
    except Void as void:
        return Sample(number, running.job, running.mode.name, void=str(void))
    return Sample(number, running.job, running.mode.name, figures)


def said(sample: Sample) -> str:
    """A line about a sample, for who watches."""
    figures = sample.figures
    if sample.void:
        words = f"void: {sample.void.splitlines()[0]}"
    elif sample.job == "slow":
        words = f"{figures['answered']:.0f} of {figures['of']:.0f} answered, {figures['p50']:,.0f} ms"
    elif sample.job == "live":
        words = f"told in {figures['p50']:,.0f} ms, p99 {figures['p99']:,.0f}; {figures['memory']:.0f} kB a watcher"
    else:
        words = f"{figures['rps']:>8,.0f}/s  p50 {figures['p50']:>8,.2f} ms  {figures['memory']:>5,.0f} MB"
    return f"  {sample.job:<6} {sample.mode:<28} {words}"


def one_round(number: int, modes: Sequence[Mode]) -> Iterator[Sample]:
    """Each job in turn: the reference stays up, and is measured between groups of the others, in an order of chance."""
    by_name = {mode.name: mode for mode in modes}
    for job, about in JOBS.items():
        others = [mode for mode in modes if job in mode.jobs and mode.name != about.reference]
        random.Random(number).shuffle(others)  # noqa: S311 (an order)
        with by_name[about.reference].up(job, HOME) as reference:
            yield take(reference, number)
            for first in range(0, len(others), GROUP):
                for mode in others[first : first + GROUP]:
                    try:
                        with mode.up(job, HOME) as running:
                            sample = take(running, number)
                    except Failed as failed:
                        sample = Sample(number, job, mode.name, void=str(failed))
                    yield sample
                yield take(reference, number)


def measure(rounds: int) -> Results:
    """Every mode that is available here, in `rounds` rounds."""
    modes = list(read_all().values())
    missing = {mode.name: what for mode in modes if (what := mode.missing())}
    available = [mode for mode in modes if mode.name not in missing]
    for name in {about.reference for about in JOBS.values()} & missing.keys():
        raise Failed(f"the reference itself, {name}, is not available: {'; '.join(missing[name])}")
    print(
        f"{len(available)} of {len(modes)} modes are available here (`make lab-list`), in {rounds} rounds. "
        "About half an hour; leave the machine alone meanwhile.",
        flush=True,
    )
    with step("data and static files"):
        site.prepare(HOME)
    began, since = datetime.now(UTC), time.monotonic()
    samples = []
    for number in range(1, rounds + 1):
        print(f"Round {number} of {rounds}, {(time.monotonic() - since) / 60:.0f} minutes so far", flush=True)
        for sample in one_round(number, available):
            samples.append(sample)
            print(said(sample), flush=True)
    results = Results(
        f"{began:%Y-%m-%d %H:%M} UTC",
        round(time.monotonic() - since, 1),
        rounds,
        machine(),
        {mode.name: mode.versions() for mode in available},
        missing,
        samples,
    )
    print(f"{len(samples)} samples in {results.seconds / 60:.0f} minutes.")
    return results


def write(results: Results, to: Path) -> None:
    """lab.json, lab.md and lab.html."""
    modes = read_all()
    (to / "lab.json").write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
    (to / "lab.md").write_text(as_markdown(results, modes))
    (to / "lab.html").write_text(as_html(results, modes))
    print(f"{to}: lab.md, lab.html, lab.json")


def look(name: str, job: str) -> None:
    """One mode, measured once and left up until Ctrl-C."""
    modes = read_all()
    if name not in modes:
        raise Failed(f"there is no mode {name}: `make lab-list` names them")
    mode = modes[name]
    if what := mode.missing():
        raise Failed(f"{name} is not available here. It needs: {'; '.join(what)}")
    job = job or ("page" if "page" in mode.jobs else mode.jobs[0])
    if job not in mode.jobs:
        raise Failed(f"{name} does {', '.join(mode.jobs)}, not {job}")
    with step("data and static files"):
        site.prepare(HOME)
    print(f"{mode.title}\n{PROJECT / 'lab/modes' / (mode.page + '.md')}", flush=True)
    with mode.up(job, HOME) as running:
        print(said(take(running, 1)))
        print(f"\n  {running.url}\n  {running.directory}: its files, and `output`\n\nCtrl-C stops it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


def list_modes() -> None:
    modes = read_all()
    rows = [("mode", "jobs", "")]
    for family in FAMILIES:
        rows += [("", "", ""), (family, "", "")]
        for mode in modes.values():
            if mode.family == family:
                what = mode.missing()
                rows.append((f"  {mode.name}", " ".join(mode.jobs), f"needs {'; '.join(what)}" if what else ""))
    table(rows)
    packages = {p for mode in modes.values() for program, p in mode.needs.items() if not find(program)}
    if packages:
        print(f"\nFor all: sudo apt-get install --no-install-recommends {' '.join(sorted(packages))}")
    print(f"\n{PROCESSES} processes each, for {CORES} cores. Jobs: {', '.join(JOBS)}.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make lab", description=__doc__)
    parser.add_argument("command", choices=["measure", "look", "list"])
    parser.add_argument("--mode", default="")
    parser.add_argument("--job", default="", choices=["", *JOBS])
    parser.add_argument("--rounds", default="")
    arguments = parser.parse_args()
    # Whoever ends this ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended: nothing was kept."))
    try:
        if arguments.command == "list":
            list_modes()
            return
        if not find("wrk"):
            raise Failed("the load generator is not installed: sudo apt-get install wrk")
        rounds = arguments.rounds or "3"
        if not re.fullmatch("[1-9]", rounds):
            raise Failed(f"ROUNDS is {rounds!r}: it is a number from 1 to 9")
        if arguments.command == "look":
            look(arguments.mode, arguments.job)
        else:
            write(measure(int(rounds)), PROJECT / "docs")
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except PermissionError as error:
        raise SystemExit(
            f"\n✗ {error}\nRun this as an ordinary user; what root starts runs as www-data, who must be able to read "
            "the project, as in /srv."
        ) from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted: nothing was kept.") from None


if __name__ == "__main__":
    main()
