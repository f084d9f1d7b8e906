"""Verdicts and the report, from made-up samples."""

import re

import pytest

from deploy.core.apps import PROJECT
from lab.claims import CLAIMS, Claim, ratio, value
from lab.load import Figures
from lab.mode import JOBS, read_all
from lab.report import as_html, as_markdown
from lab.results import Results, Sample

MODES = read_all()
MACHINE = {"cores": 2, "processor": "x", "memory_gb": 4, "system": "y", "kernel": "z", "python": "3.11.2"}


def results(*samples: Sample, cores: int = 2) -> Results:
    return Results(
        "2026-01-01 00:00 UTC", 60, 3, MACHINE | {"cores": cores}, {"reference": {"nginx": "1.22"}}, {}, list(samples)
    )


def throughput(rps: float) -> Figures:
    return {"rps": rps, "p50": 1, "p99": 2, "cpu": 1e6 / rps, "memory": 100, "generator": 0.2}


def rounds(reference: tuple[float, ...] = (100, 100, 100), **modes: tuple[float, ...]) -> Results:
    """Requests per second by round: the reference before and after, the modes in between."""
    samples = []
    for number, base in enumerate(reference):
        samples.append(Sample(number, "hello", "reference", throughput(base)))
        for name, rates in modes.items():
            samples.append(
                Sample(
                    number,
                    "hello",
                    name,
                    throughput(rates[number]) if rates[number] else {},
                    "" if rates[number] else "3 socket errors",
                )
            )
        samples.append(Sample(number, "hello", "reference", throughput(base)))
    return results(*samples)


def verdict(found: Results, least: float) -> str:
    return Claim("", "", ratio("hello", "a", "b"), ("hello", "rps"), least=least).verdict(found).word


def test_a_claim_holds_when_every_round_is_above() -> None:
    found = rounds(a=(500, 510, 520), b=(100, 100, 100))
    assert verdict(found, 5) == "holds"
    assert verdict(found, 5.3) == "does not hold"


def test_a_claim_is_not_decided_when_the_rounds_are_on_both_sides() -> None:
    assert verdict(rounds(a=(90, 100, 120), b=(100, 100, 100)), 1) == "not decided"


def test_a_claim_with_a_maximum() -> None:
    found = rounds(a=(40, 45, 48), b=(100, 100, 100))
    assert Claim("", "", ratio("hello", "a", "b"), None, most=0.5).verdict(found).word == "holds"
    assert Claim("", "", ratio("hello", "a", "b"), None, most=0.4).verdict(found).word == "not decided"
    assert Claim("", "", ratio("hello", "a", "b"), None, most=0.3).verdict(found).word == "does not hold"


def test_missing_and_void_samples_decide_nothing() -> None:
    assert verdict(rounds(a=(100, 100, 100)), 1) == "not measured"
    assert verdict(rounds(a=(0, 0, 0), b=(100, 100, 100)), 1) == "not measured"
    assert verdict(rounds(a=(0, 300, 0), b=(100, 100, 100)), 2) == "holds"


def test_figures_are_relative_to_the_reference_of_their_round() -> None:
    """Each round is compared with its own reference."""
    found = rounds((100, 50, 10), a=(200, 100, 20), b=(100, 50, 10))
    margin = found.against_reference("hello", "a")
    assert margin
    assert (margin.low, margin.high) == (2, 2)


def noisy(*reference: float, mode: float) -> Results:
    samples = [Sample(1, "hello", "reference", throughput(rate)) for rate in reference]
    last = throughput(reference[-1])
    return results(*samples, Sample(1, "hello", "a", throughput(mode)), Sample(1, "hello", "reference", last))


def test_noise_is_the_variation_of_the_reference() -> None:
    assert noisy(100, 100, 100, 100, mode=100).noise("hello", "rps") == 0
    assert noisy(100, 130, 100, 130, 100, mode=100).noise("hello", "rps") == pytest.approx(0.3)


def test_a_mode_is_faster_only_beyond_the_noise() -> None:
    assert noisy(100, 130, 100, 130, 100, mode=120).faster("hello") == {}
    assert list(noisy(100, 101, 100, 101, 100, mode=120).faster("hello")) == ["a"]


def test_noise_widens_the_margin() -> None:
    claim = Claim("", "", value("hello", "a", "rps"), ("hello", "rps"), least=110)
    assert claim.verdict(noisy(100, 101, 100, 101, 100, mode=120)).word == "holds"
    assert claim.verdict(noisy(100, 130, 100, 130, 100, mode=120)).word == "not decided"


def test_figures_scale_with_the_cores() -> None:
    figure = value("hello", "a", "rps", cores=4)
    sample = Sample(1, "hello", "a", throughput(5000))
    assert figure(results(sample, cores=2)) == {1: 10_000}
    assert figure(results(sample, cores=8)) == {1: 2500}


def test_each_claim_names_existing_modes() -> None:
    for claim in CLAIMS:
        names = re.findall(r"[a-z][a-z0-9-]{4,}", claim.what.partition(",")[0])
        assert set(names) - {"cores"} <= set(MODES), claim.what
    # With every mode measured, each claim gets a verdict.
    figures = throughput(100) | {"answered": 10, "of": 10}
    made_up = [
        Sample(1, job, name, figures) for job in JOBS for name in ("reference", *MODES, "reference-api", "reference")
    ]
    assert {claim.verdict(results(*made_up)).word for claim in CLAIMS} <= {"holds", "does not hold", "not decided"}


def test_the_report_shows_medians_and_void_samples() -> None:
    found = rounds(granian=(301, 310, 320), waitress=(0, 90, 95))
    text = as_markdown(found, MODES)
    assert "| [granian](../lab/modes/granian.md) | 310 | 3.10 [3.01–3.20] |" in text
    assert "1 of 3 void: 3 socket errors" in text


def test_links_of_the_report_exist() -> None:
    found = results(*(Sample(1, "hello", name, throughput(100)) for name in ("reference", *MODES)))
    links = re.findall(r"\]\(([^)]+)\)", as_markdown(found, MODES))
    assert len(links) >= len(MODES)
    assert not [link for link in links if not (PROJECT / "docs" / link).exists()]


def test_the_html_report_escapes_its_input() -> None:
    found = rounds(granian=(0, 90, 95))
    found.samples.append(Sample(1, "hello", "waitress", void="<script>alert(1)</script>"))
    page = as_html(found, MODES)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") >= 1
