"""What a run found, as docs/lab.md and as docs/lab.html: the same text and tables, and charts in the latter."""

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
FIGURES = {"rps": "requests per second", "cpu": "CPU for a request", "memory": "memory"}


class About(NamedTuple):
    """How the report shows a job: `columns` by figure, and the figures that have a chart."""

    title: str
    words: str
    columns: Mapping[str, str]
    charts: Sequence[str] = ()


ABOUT = {
    "page": About(
        "The site's question page",
        "Django, its middleware, a template and the database: what the site's visitors ask for most.",
        THROUGHPUT,
        ("rps", "cpu", "memory"),
    ),
    "hello": About(
        "A bare callable",
        "What a request costs when the application does nothing: the server's own share of a page.",
        THROUGHPUT,
        ("rps",),
    ),
    "json": About(
        "The api: the results of a question as JSON",
        "One read of the database and a few hundred bytes.",
        THROUGHPUT,
        ("rps", "memory"),
    ),
    "live": About(
        "The api: watchers",
        f"{WATCHERS} WebSockets on one question, which changes: how long until they are told, and their memory.",
        {"p50": "told, p50 ms", "p99": "p99 ms", "memory": "kB for each"},
    ),
    "static": About("A static file", "The style sheet, by nginx or by Python.", THROUGHPUT),
    "slow": About(
        "Beside slow clients",
        f"{SLOW} clients are in the middle of their request and send five bytes a second. {NORMAL} normal requests "
        f"come then, one after the other, and wait {PATIENCE:g} s each; after two without an answer no more are sent.",
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
    """Of each mode a figure as a share of the reference's, on a scale of ratios. In pixels."""

    title: str
    ticks: Sequence[tuple[str, float]]
    families: Sequence[tuple[int, str]]
    rows: Sequence[Row]
    height: int
    # Of the names at the left end, of all, and of the figures at the right end.
    names: int = 210
    width: int = 760
    right: int = 150


@dataclass(frozen=True)
class Section:
    """Texts and cells may have `code`, *emphasis* and [links](to)."""

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    charts: Sequence[Chart] = ()


def number(value: float) -> str:
    """Three figures that matter; of what is far below 1, two."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 2 if value >= 0.1 else 1
    return f"{value:.{max(0, digits - math.floor(math.log10(value)))}f}"


def spread(margin: Margin | None) -> str:
    return f"{number(margin.middle)} [{number(margin.low)}–{number(margin.high)}]" if margin else "–"


def link(mode: Mode) -> str:
    return f"[{mode.name}](../lab/modes/{mode.page}.md)"


def from_docs(text: str) -> str:
    """A page's text, whose links lead to its neighbours."""
    return text.replace("](", "](../lab/modes/")


def introduction(results: Results) -> Section:
    machine = results.machine
    shares = [sample.figures["generator"] for sample in results.samples if "generator" in sample.figures]
    noise = ", ".join(f"{job} {results.noise(job, 'rps'):.0%}" for job in ("page", "hello", "json"))
    text = f"""
Made by `make lab`, not by hand. A mode's name leads to its page, which says how a request travels through it, and has
the configuration that ran.

Measured on {results.began}, in {results.seconds / 60:.0f} minutes and {results.rounds} rounds: {machine["cores"]} cores
of {machine["processor"]}, {machine["memory_gb"]} GB, {machine["system"]}, Linux {machine["kernel"]}, Python
{machine["python"]}. Every mode has {2 * machine["cores"]} processes, two for each core, unless its page says why not.

× is the share of the reference's own figure, measured just before and after: the median of the rounds, and in brackets
the least and the most. CPU is that of all cores for a request, the kernel's work for it included and the load
generator's left out; memory is the proportional size (PSS) of all processes.

The load is wrk on the same machine, {CONNECTIONS} connections kept alive by {THREADS} threads. It had
{min(shares, default=0):.0%} to {max(shares, default=0):.0%} of the cores, {statistics.median(shares or [0]):.0%} in the
median. {WARM:g} s of warm-up are not counted, then {SECONDS["hello"]} s are, and {SECONDS["page"]} of the page and of
JSON. Every answer is compared with what it should be, and one error voids the sample. What the reference
differs from itself by, in nine measurements of ten, is the noise: {noise}.
"""
    return Section("Every way to deploy, measured", [" ".join(part.split()) for part in text.strip().split("\n\n")])


def sections(results: Results, modes: Mapping[str, Mode]) -> list[Section]:
    verdicts = [(claim, claim.verdict(results)) for claim in CLAIMS]
    found = [
        introduction(results),
        Section(
            "What people say",
            [
                "A claim holds when every round, widened by the noise, is on its side of the threshold, and is *not "
                "decided* when they are on both."
            ],
            ["said", "verdict", "this run", "figure"],
            [[claim.said, verdict.word, spread(verdict.margin), claim.what] for claim, verdict in verdicts],
        ),
    ]
    for job in ABOUT:
        found.append(of_job(results, modes, job))
        if job in ("page", "json"):
            found.append(faster_than_reference(results, modes, job))
    missing = [[name, "; ".join(what)] for name, what in results.missing.items()]
    found.append(
        Section(
            "Not available here", [] if missing else ["Every mode was."], ["mode", "needs"] * bool(missing), missing
        )
    )
    versions = {name: version for of_mode in results.versions.values() for name, version in of_mode.items() if version}
    found.append(Section("Versions", [], ["package", "version"], [list(item) for item in sorted(versions.items())]))
    return found


def of_job(results: Results, modes: Mapping[str, Mode], job: str) -> Section:
    about, measured = ABOUT[job], results.modes(job)
    header = ["mode"]
    for figure, words in about.columns.items():
        header += [words] if figure == "answered" else [words, "×"]
    rows = []
    for mode in modes.values():
        if mode.name not in measured:
            continue
        row = [link(mode)]
        for figure in about.columns:
            values = results.values(job, mode.name, figure)
            row.append(number(statistics.median(values)) if values else "–")
            if figure != "answered":
                row.append(
                    "1"
                    if mode.name == JOBS[job].reference
                    else spread(results.against_reference(job, mode.name, figure))
                )
        voids = results.voids(job, mode.name)
        notes = [f"{mode.connections} connections"] if mode.connections != CONNECTIONS else []
        notes += [f"{len(voids)} of {results.rounds} void: {voids[0].splitlines()[0]}"] if voids else []
        rows.append([*row, "; ".join(notes)])
    charts = [chart(results, modes, job, figure) for figure in about.charts]
    return Section(about.title, [about.words], [*header, "note"], rows, charts)


def faster_than_reference(results: Results, modes: Mapping[str, Mode], job: str) -> Section:
    noise = f"more than the noise, {results.noise(job, 'rps'):.0%}"
    faster = sorted(results.faster(job).items(), key=lambda item: -item[1].middle)
    if not faster:
        return Section(f"Faster than the reference: {job}", [f"No mode beat {JOBS[job].reference} by {noise}."])
    return Section(
        f"Faster than the reference: {job}",
        [f"By {noise}, at its own job; and what speaks for each, and against it."],
        ["mode", "× requests/s", "its page says"],
        [[link(modes[name]), spread(margin), from_docs(modes[name].choose)] for name, margin in faster],
    )


def chart(results: Results, modes: Mapping[str, Mode], job: str, figure: str) -> Chart:
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
            rows.append(Row(y, name, x(margin.low), x(margin.middle), x(margin.high), spread(margin)))
    ticks = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    title = f"{ABOUT[job].title}: {FIGURES[figure]}, as a share of the reference's"
    return Chart(title, [(f"{tick:g}", x(tick)) for tick in ticks if least <= tick <= most], families, rows, y + 34)


def as_markdown(results: Results, modes: Mapping[str, Mode]) -> str:
    parts = []
    for place, section in enumerate(sections(results, modes)):
        parts.append(f"{'##' if place else '#'} {section.title}")
        parts += section.text
        if section.header:
            lines = [section.header, ["---"] * len(section.header), *section.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def inline(text: str) -> str:
    """HTML of what a Section's texts may have."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", xhtml_escape(text))
    text = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
    return re.sub(r"\[([^]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', text)


def as_html(results: Results, modes: Mapping[str, Mode]) -> str:
    template = Loader(str(LAB), whitespace="oneline").load("report.html")
    page = template.generate(sections=sections(results, modes), inline=inline, verdicts=VERDICTS)
    return page.decode().strip() + "\n"
