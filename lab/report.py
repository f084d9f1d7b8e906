"""The report of a run: docs/lab.md, and docs/lab.html with the same text and tables plus charts."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tornado.escape import xhtml_escape
from tornado.template import Loader

from lab.claims import CLAIMS, VERDICTS
from lab.load import NORMAL, PATIENCE, SECONDS, SLOW, THREADS, WARM, WATCHERS
from lab.mode import CONNECTIONS, FAMILIES, JOBS, LAB, Mode
from lab.results import Margin, Results

THROUGHPUT = {"rps": "requests/s", "p50": "p50 ms", "p99": "p99 ms", "cpu": "CPU µs", "memory": "memory MB"}
# The words for a figure in the title of its chart.
FIGURES = {"rps": "requests per second", "cpu": "CPU per request", "memory": "memory"}


class JobReport(NamedTuple):
    """How the report shows a job: its columns by figure, and the figures that have a chart."""

    title: str
    words: str
    columns: Mapping[str, str]
    charts: Sequence[str] = ()


JOB_REPORTS = {
    "page": JobReport(
        "The site's question page",
        "Django with its middleware, a template and the database: the page that visitors request most.",
        THROUGHPUT,
        ("rps", "cpu", "memory"),
    ),
    "hello": JobReport(
        "A minimal application",
        "The cost of a request when the application does nothing: the server's own share of a page.",
        THROUGHPUT,
        ("rps",),
    ),
    "json": JobReport(
        "The API: results of a question as JSON",
        "One database read and a few hundred bytes.",
        THROUGHPUT,
        ("rps", "memory"),
    ),
    "live": JobReport(
        "The API: watchers",
        f"{WATCHERS} WebSockets watch one question, which changes: the delay until they receive the change, and their "
        "memory.",
        {"p50": "delay p50 ms", "p99": "delay p99 ms", "memory": "kB per watcher"},
    ),
    "static": JobReport("A static file", "The style sheet, served by nginx or by Python.", THROUGHPUT),
    "slow": JobReport(
        "Beside slow clients",
        f"{SLOW} clients send their requests at five bytes per second. Meanwhile {NORMAL} normal requests follow one "
        f"another, each with a timeout of {PATIENCE:g} s. After two timeouts the measurement stops.",
        {"answered": "answered", "p50": "p50 ms"},
    ),
}


@dataclass(frozen=True)
class Row:
    y: int
    name: str
    low: float
    middle: float
    high: float
    words: str


@dataclass(frozen=True)
class Chart:
    """One figure of every mode, relative to the reference, on a logarithmic scale. Lengths are in pixels."""

    title: str
    ticks: Sequence[tuple[str, float]]
    families: Sequence[tuple[int, str]]
    rows: Sequence[Row]
    height: int
    # The width of the names on the left, of the whole chart, and of the figures on the right.
    names: int = 210
    width: int = 760
    right: int = 150


@dataclass(frozen=True)
class Section:
    """Texts and cells may contain `code`, *emphasis* and [links](to)."""

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    charts: Sequence[Chart] = ()


def format_number(value: float) -> str:
    """Round to three significant digits, or to two below 0.1."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 2 if value >= 0.1 else 1
    return f"{value:.{max(0, digits - math.floor(math.log10(value)))}f}"


def format_margin(margin: Margin | None) -> str:
    if margin is None:
        return "–"
    return f"{format_number(margin.middle)} [{format_number(margin.low)}–{format_number(margin.high)}]"


def link_to(mode: Mode) -> str:
    return f"[{mode.name}](../lab/modes/{mode.page}.md)"


def rebase_links(text: str) -> str:
    """Make a mode page's links, which are relative to lab/modes/, relative to docs/."""
    return text.replace("](", "](../lab/modes/")


def make_introduction(results: Results) -> Section:
    machine = results.machine
    shares = [sample.figures["generator"] for sample in results.samples if "generator" in sample.figures]
    noise = ", ".join(f"{job} {results.noise(job, 'rps'):.0%}" for job in ("page", "hello", "json"))
    text = f"""
`make lab` generates this report; do not edit it. Each mode links to its page, which explains how a request travels
through it and holds the configuration that ran.

Measured on {results.began}, in {results.seconds / 60:.0f} minutes and {results.rounds} rounds: {machine["cores"]} cores
of {machine["processor"]}, {machine["memory_gb"]} GB, {machine["system"]}, Linux {machine["kernel"]}, Python
{machine["python"]}. Every mode has {2 * machine["cores"]} processes, two per core, unless its page explains why not.

The raw samples are not in the repository: `lab-samples.json` is attached to the release that published this report.
`.venv/bin/python -m lab report --samples lab-samples.json` generates the report from them again.

× is a mode's figure divided by the reference's, which is measured just before and after it. It shows the median of the
rounds, with the minimum and the maximum in brackets. CPU is the time of all cores per request, including the kernel and
excluding the load generator. Memory is the proportional set size (PSS) of all processes.

wrk generates the load on the same machine, over {CONNECTIONS} keep-alive connections from {THREADS} threads. It used
{min(shares, default=0):.0%} to {max(shares, default=0):.0%} of the cores, with a median of
{statistics.median(shares or [0]):.0%}. After a warm-up of {WARM:g} s, a sample lasts {SECONDS["hello"]} s, or
{SECONDS["page"]} s for the page and JSON. Every response is compared with the expected one, and one error voids the
sample. The noise is how far the reference differs from itself, in nine of ten measurements: {noise} for requests per
second.
"""
    return Section("Every way to deploy, measured", [" ".join(part.split()) for part in text.strip().split("\n\n")])


def make_claims_section(results: Results) -> Section:
    verdicts = [(claim, claim.verdict(results)) for claim in CLAIMS]
    return Section(
        "Common claims",
        [
            "A claim holds if every round, widened by the noise, is on its side of the threshold. It is *not decided* "
            "if the rounds are on both sides."
        ],
        ["claim", "verdict", "measured", "noise", "figure"],
        [
            [claim.said, found.word, format_margin(found.margin), f"{found.noise:.1%}", claim.what]
            for claim, found in verdicts
        ],
    )


def make_sections(results: Results, modes: Mapping[str, Mode]) -> list[Section]:
    found = [make_introduction(results), make_claims_section(results)]
    for job in JOB_REPORTS:
        found.append(make_job_section(results, modes, job))
        if job in ("page", "json"):
            found.append(make_faster_section(results, modes, job))
    if results.missing:
        rows = [[name, "; ".join(what)] for name, what in results.missing.items()]
        found.append(Section("Modes not measured", [], ["mode", "needs"], rows))
    versions = {name: version for of_mode in results.versions.values() for name, version in of_mode.items() if version}
    found.append(Section("Versions", [], ["package", "version"], [list(item) for item in sorted(versions.items())]))
    return found


def make_job_section(results: Results, modes: Mapping[str, Mode], job: str) -> Section:
    about, measured = JOB_REPORTS[job], results.modes(job)
    header = ["mode"]
    for figure, words in about.columns.items():
        header += [words] if figure == "answered" else [words, "×"]
    rows = [make_job_row(results, mode, job) for mode in modes.values() if mode.name in measured]
    charts = [make_chart(results, modes, job, figure) for figure in about.charts]
    return Section(about.title, [about.words], [*header, "note"], rows, charts)


def make_job_row(results: Results, mode: Mode, job: str) -> list[str]:
    row = [link_to(mode)]
    for figure in JOB_REPORTS[job].columns:
        values = results.values(job, mode.name, figure)
        row.append(format_number(statistics.median(values)) if values else "–")
        if figure != "answered":
            margin = results.against_reference(job, mode.name, figure)
            row.append("1" if mode.name == JOBS[job].reference else format_margin(margin))
    voids = results.voids(job, mode.name)
    notes = [f"{mode.connections} connections"] if mode.connections != CONNECTIONS else []
    notes += [f"{len(voids)} of {results.rounds} void: {voids[0].splitlines()[0]}"] if voids else []
    return [*row, "; ".join(notes)]


def make_faster_section(results: Results, modes: Mapping[str, Mode], job: str) -> Section:
    title, noise = f"Faster than the reference: {job}", f"{results.noise(job, 'rps'):.0%}"
    faster = sorted(results.faster(job).items(), key=lambda item: -item[1].middle)
    if not faster:
        return Section(title, [f"No mode is faster than {JOBS[job].reference} by more than the noise of {noise}."])
    return Section(
        title,
        [f"Faster at this job by more than the noise of {noise}. The page of each mode says when to choose it."],
        ["mode", "× requests/s", "choose it when"],
        [[link_to(modes[name]), format_margin(margin), rebase_links(modes[name].choose)] for name, margin in faster],
    )


def make_chart(results: Results, modes: Mapping[str, Mode], job: str, figure: str) -> Chart:
    margins = {
        name: margin
        for name in results.modes(job)
        if name != JOBS[job].reference and (margin := results.against_reference(job, name, figure))
    }
    least = min([0.5, *(margin.low for margin in margins.values())])
    most = max([2.0, *(margin.high for margin in margins.values())])
    left, scale = Chart.names, Chart.width - Chart.names - Chart.right - 12

    def x(value: float) -> float:
        return round(left + scale * math.log(value / least) / math.log(most / least), 1)

    y, families, rows = 34, [], []
    for family in FAMILIES:
        of_family = [mode.name for mode in modes.values() if mode.family == family and mode.name in margins]
        if of_family:
            y += 20
            families.append((y, family))
        for name in of_family:
            y, margin = y + 18, margins[name]
            rows.append(Row(y, name, x(margin.low), x(margin.middle), x(margin.high), format_margin(margin)))
    ticks = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    title = f"{JOB_REPORTS[job].title}: {FIGURES[figure]}, relative to the reference"
    return Chart(title, [(f"{tick:g}", x(tick)) for tick in ticks if least <= tick <= most], families, rows, y + 34)


def as_markdown(results: Results, modes: Mapping[str, Mode]) -> str:
    parts = []
    for place, section in enumerate(make_sections(results, modes)):
        parts.append(f"{'##' if place else '#'} {section.title}")
        parts += section.text
        if section.header:
            lines = [section.header, ["---"] * len(section.header), *section.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def inline(text: str) -> str:
    """Convert the markup of a Section to HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", xhtml_escape(text))
    text = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
    return re.sub(r"\[([^]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', text)


def as_html(results: Results, modes: Mapping[str, Mode]) -> str:
    template = Loader(str(LAB), whitespace="oneline").load("report.html")
    page = template.generate(sections=make_sections(results, modes), inline=inline, verdicts=VERDICTS)
    return page.decode().strip() + "\n"
