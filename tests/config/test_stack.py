"""The stack page's figures, from metrics in the text format of Prometheus, and their diagram."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.core import metrics, settings, stack
from deploy.core.apps import INSTANCES
from deploy.core.diagram import diagram
from deploy.core.stack import Counts, Row, Stack, parse, quantile

INSTANCE = next(each for each in INSTANCES.values() if each.server.listens)
LABELS = f'app="{INSTANCE.app.name}",instance="{INSTANCE.name}"'


def text(requests: int, ready: int = 1, in_rotation: int = 1, failed: int = 0) -> str:
    """Return the metrics of an instance with two workers. Requests took 25 ms at most, and live connections longer."""
    served = f'{LABELS},method="GET",route="/a \\"b\\", c",status'
    return f"""# HELP instance_ready 1 if the instance is ready
# TYPE instance_ready gauge
instance_ready{{{LABELS}}} {ready}
instance_in_rotation{{{LABELS}}} {in_rotation}
dependency_up{{{LABELS},dependency="database"}} {ready}
worker_processes{{{LABELS},release="one<two"}} 2.0
worker_resident_bytes{{{LABELS}}} 5e+07
http_request_duration_seconds_bucket{{{served}="200",le="0.005"}} 0
http_request_duration_seconds_bucket{{{served}="200",le="0.025"}} {requests}
http_request_duration_seconds_bucket{{{served}="200",le="+Inf"}} {requests}
http_request_duration_seconds_count{{{served}="200"}} {requests}
http_request_duration_seconds_count{{{served}="503"}} {failed}
http_request_duration_seconds_bucket{{{LABELS},route="/v1/live/x",le="0.025"}} 0
http_request_duration_seconds_bucket{{{LABELS},route="/v1/live/x",le="+Inf"}} {requests}
nginx_connections{{state="waiting"}} 3
nginx_requests_total{{}} {requests}
nginx_failed_requests_total{{}} {failed}
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the stack sees."""
    now = [1000.0]
    monkeypatch.setattr(stack, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def read(found: Stack, clock: list[float], seconds: float, **figures: int) -> dict[str, Row]:
    """Read again after some seconds. Return the rows by name."""
    clock[0] += seconds
    found.own = lambda: text(**figures) if figures else ""
    found.read()
    found.readings += 1
    return {row.name: row for row in found.rows}


def test_it_reads_what_prometheus_reads() -> None:
    families = text_string_to_metric_families(text(7))
    theirs = [(each.name, each.labels, each.value) for family in families for each in family.samples]
    ours = [(name, labels, value) for name, found in parse(text(7)).items() for labels, value in found]
    for _, labels, _ in ours:
        # prometheus_client's parser removes the escapes. Names of instances and releases have none.
        labels |= {"route": labels["route"].replace('\\"', '"')} if "route" in labels else {}
    assert sorted(ours, key=str) == sorted(theirs, key=str)


def test_rates_and_durations_are_of_the_last_seconds(clock: list[float]) -> None:
    found = Stack(str, {"": ""}, diagram)
    read(found, clock, 0, requests=1000)
    read(found, clock, 10, requests=1000)
    row = read(found, clock, 10, requests=1050, failed=2)[INSTANCE.name]
    assert row.trend == [0, 5.2]
    assert row.figures | {"watchers": ""} == {
        **{"req/s": "5.2", "p50": "15 ms", "p99": "25 ms", "errors": "2", "memory": "50 MB"},
        **{"release": "one<two", "watchers": ""},
    }
    # The counters began again.
    row = read(found, clock, 10, requests=0)[INSTANCE.name]
    assert (row.figures["req/s"], row.figures["errors"], row.figures["p50"]) == ("0", "0", "–")


@pytest.mark.parametrize(
    ("ready", "in_rotation", "state"),
    [
        (1, 1, ("in rotation", "good")),
        (1, 0, ("out of rotation", "busy")),
        (0, 0, ("out of rotation, not ready", "busy")),
        (0, 1, ("not ready", "bad")),
    ],
)
def test_the_states_of_an_instance(clock: list[float], ready: int, in_rotation: int, state: tuple[str, str]) -> None:
    rows = read(Stack(str, {"": ""}, diagram), clock, 0, requests=1, ready=ready, in_rotation=in_rotation)
    assert (rows[INSTANCE.name].state, rows[INSTANCE.name].tone) == state
    assert rows["Database"].tone == ("good" if ready else "bad")
    assert "Redis" not in rows
    # nginx is good in each case.
    others = rows[INSTANCE.name].tone, rows["Database"].tone
    tone = "bad" if "bad" in others else others[0]
    ready_now = 1 + others.count("good")
    assert f'<div class="{tone}"><dt>services ready</dt><dd>{ready_now} of 3</dd>' in diagram([*rows.values()])


def test_a_host_that_does_not_answer_keeps_its_rows(clock: list[float]) -> None:
    found = Stack(str, {"edge-1": ""}, diagram)
    assert read(found, clock, 0, requests=1)[INSTANCE.name].tone == "good"
    lost = read(found, clock, 1)
    assert {lost[name].state for name in ("nginx", INSTANCE.name)} == {"no answer"}
    assert lost["nginx"].host == "edge-1"


def test_a_quantile_without_requests() -> None:
    same = Counts(5, 0, ((0.1, 5), (float("inf"), 5)))
    assert quantile(0.5, same, same) is None
    assert quantile(0.5, Counts(0, 0), Counts(0, 0)) is None
    # Above the last bound nothing is known.
    assert quantile(0.99, Counts(5, 0, ((0.1, 0), (float("inf"), 5))), Counts(0, 0)) == 0.1


def test_the_diagram_escapes_what_it_shows(clock: list[float]) -> None:
    found = Stack(str, {"": ""}, diagram)
    read(found, clock, 0, requests=1)
    assert "one&lt;two" in found.page
    assert "one<two" not in found.page
    # A server-sent event is a line.
    assert "\n" not in found.page


def test_failures_are_counted_when_their_file_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nginx.failed"
    monkeypatch.setattr(metrics, "MOST_FAILURES", 3)
    counted = []
    for _ in range(5):
        with file.open("a") as lines:
            lines.write("503\n500\n")
        counted.append(metrics.count_failures(file))
    assert counted == [2, 4, 6, 8, 10]
    assert file.stat().st_size <= 8


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"STACK_PAGE": "everybody"}, False),
        ({"STACK_PAGE": "everybody", "ADDRESS": "192.0.2.1"}, True),
        ({"STACK_PAGE": "everybody", "TRUSTED_PROXIES": "10.0.0.0/8"}, True),
        ({"STACK_PAGE": "staff", "ADDRESS": "192.0.2.1"}, False),
        ({"STACK_PAGE": "on"}, True),
    ],
)
def test_who_may_see_it(given: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"ADDRESS": "127.0.0.1", "TRUSTED_PROXIES": ""} | given).items():
        monkeypatch.setenv(name, value)
    assert any("STACK_PAGE is" in fault and "staff" in fault for fault in settings.faults()) == refused
