"""A picture of a rolling restart under load. `python -m tests.chaos.rolling` measures and draws
docs/rolling-restart.svg.

The load is 16 clients that read the site's page and the api's endpoint in turn, over kept-alive connections. The header
X-Upstream of each response names the instance that served it.
"""

import asyncio
import os
import re
import time
from collections import Counter
from contextlib import ExitStack

from deploy.core.probe import UNCACHED
from tests import servers
from tests.chaos.client import Connection, Lost
from tests.environment import environment
from tests.sample import ENDPOINT, PAGE
from tests.stacks import PROJECT, NativeStack, directory

CLIENTS = 16
# Seconds between two requests of a client; of load before and after the restart; and that one bar covers.
PAUSE = 0.05
CALM = 4.0
BAR = 0.5

Response = tuple[float, str]


async def read(stack: NativeStack, first: int, stop: asyncio.Event, responses: list[Response]) -> None:
    """Add the moment and the instance of each response to `responses`, or "failed" instead of the instance."""
    connection, turn = Connection(stack), first
    while not stop.is_set():
        try:
            answer = await connection.ask("GET", (PAGE, ENDPOINT)[turn % 2], UNCACHED)
            served = re.search(r"/([a-z]+-[a-z])(?:-\d+)?\.sock$", answer.headers.get("x-upstream", ""))
            outcome = served[1] if served and answer.status == 200 else "failed"
        except Lost:
            outcome = "failed"
        responses.append((time.perf_counter(), outcome))
        turn += 1
        await asyncio.sleep(PAUSE)
    connection.close()


async def measure(stack: NativeStack) -> tuple[list[Response], float, float]:
    """Return the responses, and when `make restart` began and ended, in seconds since the first."""
    stop, responses = asyncio.Event(), list[Response]()
    began = time.perf_counter()
    clients = [asyncio.create_task(read(stack, number, stop, responses)) for number in range(CLIENTS)]
    await asyncio.sleep(CALM)
    started = time.perf_counter()
    done = await asyncio.to_thread(stack.make, "restart")
    ended = time.perf_counter()
    assert done.returncode == 0, done.stdout
    await asyncio.sleep(CALM)
    stop.set()
    await asyncio.gather(*clients)
    return [(moment - began, outcome) for moment, outcome in responses], started - began, ended - began


STYLE = """
    svg { font: 13px system-ui, sans-serif; }
    .paper { fill: #fff; } text { fill: #24292f; } .grid { stroke: #d0d7de; } .roll { fill: #eef2f6; }
    .a { fill: #0a62c9; } .b { fill: #e0823d; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117; } text { fill: #e6edf3; } .grid { stroke: #30363d; } .roll { fill: #1b222c; }
      .a { fill: #6cb0ff; } .b { fill: #d9824a; }
    }
"""
WIDTH, HEIGHT = 640, 110


def panel(app: str, bars: Counter[tuple[str, int]], most: int, scale: float, roll: tuple[float, float]) -> str:
    """Draw requests per second of an app, with instance b on top of a. `scale` is in pixels per second."""
    left, right = (moment * scale for moment in roll)
    parts = [f'<rect class="roll" x="{left:.1f}" width="{right - left:.1f}" y="0" height="{HEIGHT}"/>']
    for number in sorted({number for _, number in bars}):
        below = 0.0
        for letter in "ab":
            height = HEIGHT * bars[f"{app}-{letter}", number] / most
            x, y, width = number * BAR * scale, HEIGHT - below - height, BAR * scale - 1
            parts.append(f'<rect class="{letter}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')
            below += height
    parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    parts.append(f'<text x="-8" y="12" text-anchor="end">{most / BAR:.0f}/s</text>')
    parts.append(f'<text x="-8" y="{HEIGHT}" text-anchor="end">0</text>')
    parts.append(f'<text x="-8" y="{HEIGHT / 2 + 8}" text-anchor="end" font-weight="600">{app}</text>')
    return "\n    ".join(parts)


def draw(responses: list[Response], roll: tuple[float, float]) -> str:
    failed = sum(outcome == "failed" for _, outcome in responses)
    last = max(moment for moment, _ in responses)
    bars = Counter((outcome, int(moment / BAR)) for moment, outcome in responses)
    totals = Counter[tuple[str, int]]()
    for (outcome, number), count in bars.items():
        totals[outcome[:-2], number] += count
    most, scale = max(totals.values()), WIDTH / last
    title = f"make restart under load: {len(responses):,} requests, {failed} failed"
    panels = "\n".join(
        f'  <g transform="translate(70 {60 + number * (HEIGHT + 30)})">\n    '
        f"{panel(app, bars, most, scale, roll)}\n  </g>"
        for number, app in enumerate(("site", "api"))
    )
    bottom = 60 + 2 * HEIGHT + 30
    ticks = "\n".join(
        f'  <text x="{70 + second * scale:.1f}" y="{bottom + 18}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(last) + 1, 2)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 100} {bottom + 34}" role="img">
  <title>{title}</title>
  <style>{STYLE}  </style>
  <rect class="paper" width="{WIDTH + 100}" height="{bottom + 34}"/>
  <text x="70" y="24" font-size="16" font-weight="600">{title}</text>
  <rect class="a" x="70" y="36" width="12" height="12"/><text x="88" y="47">instance a</text>
  <rect class="b" x="170" y="36" width="12" height="12"/><text x="188" y="47">instance b</text>
  <rect class="roll" x="270" y="36" width="12" height="12"/><text x="288" y="47">while make restart runs</text>
{panels}
{ticks}
</svg>
"""


def main() -> None:
    with ExitStack() as stack_of, servers.postgresql() as database, servers.redis() as redis:
        files = stack_of.enter_context(directory())
        os.environ |= environment(str(files))
        stack = NativeStack(files, {"DATABASE_URL": database, "REDIS_URL": redis})
        try:
            stack.up()
            responses, started, ended = asyncio.run(measure(stack))
        finally:
            stack.down()
    print(Counter(outcome for _, outcome in responses), f"restart from {started:.1f} s to {ended:.1f} s")
    (PROJECT / "docs/rolling-restart.svg").write_text(draw(responses, (started, ended)))


if __name__ == "__main__":
    main()
