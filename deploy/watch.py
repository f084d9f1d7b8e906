"""`make status WATCH=1`: the stack page in a terminal, a reading a second until Ctrl-C."""

import argparse
import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.core.console import Failed, nothing_runs
from deploy.core.settings import setting
from deploy.core.stack import HISTORY, STEP

COLORS = {"good": "green", "busy": "yellow", "bad": "red"}
# Of a chart, from the lowest to the highest. A terminal of 8 bits has no blocks.
BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
COLUMNS = ("req/s", "p50", "p99", "failed", "watchers", "memory")
# What rows of other parts have in these columns.
SAME = {"jobs/s": "req/s", "queries/s": "req/s", "reads/s": "req/s", "errors": "failed", "misses": "failed"}


def reader(options: argparse.Namespace) -> Callable[[], str]:
    """Return a function that returns the rows of the stack as JSON. It raises OSError or Failed."""
    if options.target == "hosts":
        # It needs packages of its own.
        from deploy.targets.hosts.fleet import HOST_COMMAND, Fleet

        fleet = Fleet(options.inventory)
        return lambda: fleet.ask(fleet.groups["edge"][0], f"{HOST_COMMAND} rows")
    port = setting("METRICS_PORT")
    if not port:
        raise Failed("There are no figures to watch: set METRICS_PORT to a port, such as 9145, and run `make up`")

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stack/rows", timeout=15) as answer:
            return str(answer.read().decode())

    return read


def table(rows: list[dict[str, Any]], console: Console) -> Table:
    marks = LETTERS if console.options.ascii_only else BLOCKS
    wide = console.width >= 100
    shown = Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for title in ("service", "state", *COLUMNS, *(["ten minutes"] if wide else [])):
        shown.add_column(title, no_wrap=True, overflow="crop", justify="right" if title in COLUMNS else "left")
    for row in rows:
        figures = {SAME.get(label, label): value for label, value in row["figures"].items()}
        most = max(row["trend"], default=0) or 1
        trend = "".join(marks[round(7 * value / most)] for value in row["trend"][-HISTORY // STEP :])
        name = " ".join(filter(None, [row["host"], row["name"].lower()]))
        cells = [figures.get(title, "").replace("–", "-") for title in COLUMNS]
        shown.add_row(name, Text(row["state"], COLORS[row["tone"]]), *cells, *([trend] if wide else []))
    return shown


def watch(options: argparse.Namespace) -> None:
    """Show the rows each second until Ctrl-C. Raises Failed if there is no first reading."""
    read, console = reader(options), Console()
    try:
        shown = json.loads(read())
    except OSError as error:
        raise Failed(
            f"The collector of metrics does not answer: {error}. `make status` shows whether it runs"
        ) from None
    if not shown:
        nothing_runs()
    with suppress(KeyboardInterrupt), Live(table(shown, console), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(1)
            try:
                shown = json.loads(read())
            except (OSError, Failed) as error:
                live.update(Text(f"no reading: {error}"), refresh=True)
                continue
            live.update(table(shown, console), refresh=True)
