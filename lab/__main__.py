"""The commands behind `make lab`, `make lab MODE=…` and `make lab-list`, and `report`, which rebuilds docs/lab.*."""

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

from deploy.core.apps import PROJECT
from deploy.core.console import Failed, step, table
from deploy.core.settings import VAR
from lab import data, load
from lab.load import Void
from lab.mode import CORES, FAMILIES, JOBS, PROCESSES, Mode, Running, is_installed, read_all
from lab.report import as_html, as_markdown
from lab.results import Results, Sample

HOME = VAR / "lab"
# Outside git: the samples of a published report are attached to its release.
SAMPLES = PROJECT / "artifacts/lab-samples.json"
REPORT = PROJECT / "docs"
# Measure the reference again after this many modes, which take a quarter of a minute.
GROUP = 5


def describe_machine() -> dict[str, Any]:
    processor = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cores": CORES,
        "processor": processor[1] if processor else platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def measure_running(running: Running, number: int) -> Sample:
    try:
        figures = load.measure(running, HOME / "db.sqlite3")
    except Void as void:
        return Sample(number, running.job, running.mode.name, void=str(void))
    return Sample(number, running.job, running.mode.name, figures)


def describe_sample(sample: Sample) -> str:
    """Return one line of progress output."""
    figures = sample.figures
    if sample.void:
        words = f"void: {sample.void.splitlines()[0]}"
    elif sample.job == "slow":
        words = f"{figures['answered']:.0f} of {figures['of']:.0f} answered, {figures['p50']:,.0f} ms"
    elif sample.job == "live":
        words = f"p50 {figures['p50']:,.0f} ms, p99 {figures['p99']:,.0f} ms; {figures['memory']:.0f} kB per watcher"
    else:
        words = f"{figures['rps']:>8,.0f}/s  p50 {figures['p50']:>8,.2f} ms  {figures['memory']:>5,.0f} MB"
    return f"  {sample.job:<6} {sample.mode:<28} {words}"


def measure_round(number: int, modes: Sequence[Mode]) -> Iterator[Sample]:
    """Measure every job. The reference keeps running and is measured between groups of other modes in random order."""
    by_name = {mode.name: mode for mode in modes}
    for job, about in JOBS.items():
        others = [mode for mode in modes if job in mode.jobs and mode.name != about.reference]
        random.Random(number).shuffle(others)  # noqa: S311 (an order)
        with by_name[about.reference].start(job, HOME) as reference:
            yield measure_running(reference, number)
            for first in range(0, len(others), GROUP):
                for mode in others[first : first + GROUP]:
                    try:
                        with mode.start(job, HOME) as running:
                            sample = measure_running(running, number)
                    except Failed as failed:
                        sample = Sample(number, job, mode.name, void=str(failed))
                    yield sample
                yield measure_running(reference, number)


def measure(rounds: int) -> Results:
    """Measure every mode that this machine can run. Raises Failed."""
    modes = list(read_all().values())
    missing = {mode.name: what for mode in modes if (what := mode.missing())}
    available = [mode for mode in modes if mode.name not in missing]
    for name in {about.reference for about in JOBS.values()} & missing.keys():
        raise Failed(f"the reference mode {name} is not available. It needs: {'; '.join(missing[name])}")
    print(
        f"{len(available)} of {len(modes)} modes are available (`make lab-list`). {rounds} rounds take about "
        f"{9 * rounds} minutes. Do not use the machine meanwhile.",
        flush=True,
    )
    with step("data and static files"):
        data.prepare(HOME)
    began, since = datetime.now(UTC), time.monotonic()
    samples = []
    for number in range(1, rounds + 1):
        print(f"Round {number} of {rounds}, {(time.monotonic() - since) / 60:.0f} minutes so far", flush=True)
        for sample in measure_round(number, available):
            samples.append(sample)
            print(describe_sample(sample), flush=True)
    results = Results(
        f"{began:%Y-%m-%d %H:%M} UTC",
        round(time.monotonic() - since, 1),
        rounds,
        describe_machine(),
        {mode.name: mode.versions() for mode in available},
        missing,
        samples,
    )
    print(f"{len(samples)} samples in {results.seconds / 60:.0f} minutes")
    return results


def write_samples(results: Results) -> None:
    SAMPLES.parent.mkdir(exist_ok=True)
    SAMPLES.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
    print(f"{SAMPLES}: the raw samples. Attach this file to the release that publishes the report.")


def read_samples(path: Path) -> Results:
    """Raises Failed."""
    try:
        return Results.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Failed(f"--samples={path}: not a file of samples that `make lab` wrote: {error!r}") from error


def write_report(results: Results) -> None:
    modes = read_all()
    (REPORT / "lab.md").write_text(as_markdown(results, modes))
    (REPORT / "lab.html").write_text(as_html(results, modes))
    print(f"{REPORT}: lab.md and lab.html")


def look(name: str, job: str) -> None:
    """Measure one mode once, and leave it running until Ctrl-C. Raises Failed."""
    modes = read_all()
    if name not in modes:
        raise Failed(f"MODE={name}: there is no such mode. `make lab-list` lists them")
    mode = modes[name]
    if what := mode.missing():
        raise Failed(f"{name} is not available. It needs: {'; '.join(what)}")
    job = job or ("page" if "page" in mode.jobs else mode.jobs[0])
    if job not in mode.jobs:
        raise Failed(f"JOB={job}: {name} has only {', '.join(mode.jobs)}")
    with step("data and static files"):
        data.prepare(HOME)
    print(f"{mode.title}\n{PROJECT / 'lab/modes' / (mode.page + '.md')}", flush=True)
    with mode.start(job, HOME) as running:
        print(describe_sample(measure_running(running, 1)))
        print(f"\n  {running.url}\n  {running.directory}: its files, and `output`\n\nCtrl-C stops it", flush=True)
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
    packages = {p for mode in modes.values() for program, p in mode.needs.items() if not is_installed(program)}
    if packages:
        print(f"\nTo get all modes: sudo apt-get install --no-install-recommends {' '.join(sorted(packages))}")
    print(f"\nEach mode runs {PROCESSES} processes on {CORES} cores. Jobs: {', '.join(JOBS)}")


def run(arguments: argparse.Namespace) -> None:
    """Run one command. Raises Failed."""
    if arguments.command == "list":
        return list_modes()
    if arguments.command == "report":
        return write_report(read_samples(arguments.samples))
    if not is_installed("wrk"):
        raise Failed("the load generator wrk is not installed: sudo apt-get install wrk")
    if arguments.command == "look":
        return look(arguments.mode, arguments.job)
    rounds = arguments.rounds or "3"
    if not re.fullmatch("[1-9]", rounds):
        raise Failed(f"ROUNDS={rounds}: expected a number from 1 to 9")
    results = measure(int(rounds))
    write_samples(results)
    return write_report(results)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("command", choices=["measure", "look", "list", "report"])
    parser.add_argument("--mode", default="", help="look: the mode")
    parser.add_argument("--job", default="", choices=["", *JOBS], help="look: the job")
    parser.add_argument("--rounds", default="", help="measure: 1 to 9 (default 3)")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="report: the samples file (default %(default)s)")
    # SystemExit unwinds the context managers, which stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated: no samples were saved"))
    try:
        run(parser.parse_args())
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except PermissionError as error:
        raise SystemExit(
            f"\n✗ {error}\nRun this as an ordinary user. As root, the servers run as www-data, which must be able to "
            "read the project, for example in /srv."
        ) from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted: no samples were saved") from None


if __name__ == "__main__":
    main()
