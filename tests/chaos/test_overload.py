"""Ten times the load that the stack can serve: it serves what it can, and rejects the rest at once."""

import asyncio
import statistics
import time

import pytest

from deploy.core.probe import UNCACHED
from tests.chaos.goodput import PATHS, OpenLoad, apart
from tests.chaos.table import Record
from tests.stacks import NativeStack

# Seconds that a client waits. It bounds a hang: the plot shows responses that come later than people wait.
DEADLINE = 15


def memory(stack: NativeStack) -> float:
    """Return the memory of all processes in MB, with shared memory counted once."""
    return sum(float(process.memory_full_info().pss) for process in stack.processes()) / 1e6


def seconds_until_well(stack: NativeStack, path: str) -> float:
    """Wait until twenty responses in a row are good."""
    began = last = time.monotonic()
    good = 0
    with stack.client(headers=UNCACHED) as client:
        while good < 20:
            assert time.monotonic() < began + 30, "it does not recover"
            if client.get(path).status_code == 200:
                good += 1
            else:
                good, last = 0, time.monotonic()
    return last - began


@pytest.mark.parametrize("app", ["site", "api"])
def test_ten_times_too_much(stack: NativeStack, record: Record, short: bool, app: str) -> None:
    path = PATHS[app]

    async def best() -> float:
        return await OpenLoad(stack, path, DEADLINE).most(seconds=1 if short else 2)

    async def overload(rate: float) -> tuple[OpenLoad, float]:
        load = OpenLoad(stack, path, DEADLINE)
        sending = asyncio.create_task(load.at(rate, seconds=3 if short else 6))
        await asyncio.sleep(2)
        most = await asyncio.to_thread(memory, stack)
        await sending
        return load, most

    with apart(stack):
        asyncio.run(best())  # warm up: database connections and code
        before = memory(stack)
        rates = [asyncio.run(best())]
        load, during = asyncio.run(overload(10 * rates[0]))
        recovered = seconds_until_well(stack, path)
        # Measure twice: other work on this machine would distort a single measurement.
        rates.append(asyncio.run(best()))
    rate = statistics.mean(rates)
    served, refused = (statistics.median(load.seconds[how]) for how in ("200", "refused"))
    note = (
        f"{load.rate / rate:.1f} × the best rate: {load.goodput / rate:.2f} of it served, in {served * 1000:.0f} ms; "
        f"503 × {len(load.seconds['refused'])} in {refused * 1000:.1f} ms; memory {before:.0f} → {during:.0f} MB"
    )
    record(f"10 × the load ({app})", load.sent, load.failed, 0, recovered, note)
    assert load.failed == 0, {how: len(seconds) for how, seconds in load.seconds.items()}
    # A busy machine may not reach ten times.
    assert load.rate > 2 * rate, note
    # On an idle machine: 0.9 for the site and 0.75 for the api; 0.1 for an api that accepts everything.
    assert load.goodput > 0.4 * rate, note
    # Measured: 1.2 ms against 2.3 s. A refusal that waits in the queue takes as long as a response. On a busy machine
    # both wait for this process.
    assert refused < served / 2, note
    lines = [line for log in stack.read_logs("nginx") for line in log if f'"upstream":"{app}"' in line]
    assert len(lines) < len(load.seconds["refused"]) / 20, f"{len(lines)} lines in the access log. {note}"
    assert during < before + 200, note
