"""The published report: its verdicts follow from its figures, and docs/lab.html shows the figures of docs/lab.md."""

import math
import re
from collections.abc import Callable
from html import unescape

import pytest

from deploy.core.apps import PROJECT
from lab.claims import CLAIMS
from lab.mode import read_all
from lab.report import FIGURES, JOB_REPORTS, as_html, as_markdown, inline
from lab.results import Margin
from tests.lab.test_verdicts import rounds

MARKDOWN = (PROJECT / "docs/lab.md").read_text()
HTML = (PROJECT / "docs/lab.html").read_text()
MADE_UP = rounds(granian=(301, 310, 320), waitress=(0, 90, 95), bjoern=(40, 50, 51))

Table = list[list[str]]


def tables(markdown: str) -> dict[str, Table]:
    """Return the tables by the title of their section. The first row is the header."""
    found = {}
    for section in re.split(r"^##? ", markdown, flags=re.M):
        rows = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("| ")]
        if rows:
            found[section.partition("\n")[0]] = rows[:1] + rows[2:]
    return found


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", text.replace(",", ""))]


def test_verdicts_follow_from_their_figures() -> None:
    header, *rows = tables(MARKDOWN)["Common claims"]
    assert header == ["claim", "verdict", "measured", "noise", "figure"]
    assert [(row[0], row[4]) for row in rows] == [(claim.said, claim.what) for claim in CLAIMS]
    for claim, (said, verdict, measured, noise, _) in zip(CLAIMS, rows, strict=True):
        margin = None
        if measured != "–":
            middle, low, high = numbers(measured)
            margin = Margin(low, middle, high)
        assert claim.judge(margin, numbers(noise)[0] / 100) == verdict, said


@pytest.fixture(params=["published", "made up"])
def report(request: pytest.FixtureRequest) -> tuple[dict[str, Table], str]:
    """The tables of the Markdown report, and the HTML report."""
    if request.param == "published":
        return tables(MARKDOWN), HTML
    return tables(as_markdown(MADE_UP, read_all())), as_html(MADE_UP, read_all())


def test_html_has_the_same_tables(report: tuple[dict[str, Table], str]) -> None:
    markdown, html = report
    shown = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.S)]
    assert shown == [[inline(cell) for cell in row] for table in markdown.values() for row in table]


def test_charts_show_the_tables(report: tuple[dict[str, Table], str]) -> None:
    """Each mode of a table is in the chart, with its figures as text and at their places on the scale."""
    markdown, html = report
    charts = re.findall(r'<svg .*?aria-label="(.*?)\. The.*?">(.*?)</svg>', html, re.S)
    expected = [(job, figure) for job in JOB_REPORTS.values() for figure in job.charts]
    for (job, figure), (title, chart) in zip(expected, charts, strict=True):
        assert unescape(title) == f"{job.title}: {FIGURES[figure]}, relative to the reference"
        header, *rows = markdown[job.title]
        column = header.index(job.columns[figure]) + 1
        in_table = {re.sub(r"\[(.+)\].*", r"\1", row[0]): row[column] for row in rows if row[column] not in ("1", "–")}
        in_chart = bars(chart)
        assert {name: words for name, words, _ in in_chart} == in_table
        place = scale(chart)
        for name, words, found in in_chart:
            # The figures in the table are rounded.
            assert found == pytest.approx([place(value) for value in numbers(words)], abs=2), name


def bars(chart: str) -> list[tuple[str, str, list[float]]]:
    """Return the name and the text of each bar, and its places: median, minimum, maximum."""
    pattern = r'end">(.+?)</text>\s*<line .*?x1="(.+?)" x2="(.+?)".*?<circle .*?cx="(.+?)".*?<text.*?>(.+?)</text>'
    return [
        (name, words, [float(middle), float(low), float(high)])
        for name, low, high, middle, words in re.findall(pattern, chart, re.S)
    ]


def scale(chart: str) -> Callable[[float], float]:
    """Return a function from a figure to its place, by the first and the last tick."""
    ticks = [(float(label), float(x)) for x, label in re.findall(r'x="([\d.]+)"[^>]*"middle">(.+?)<', chart)]
    (first, left), *_, (last, right) = ticks
    return lambda value: left + (right - left) * math.log(value / first) / math.log(last / first)
