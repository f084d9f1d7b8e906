"""Traces of the api by themselves: off, of a request, sampled, and with a server that takes none."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import servers
from tests.api.framework.test_sentry import FaultyHandler
from tests.api.served import PROJECT, Served
from tests.otlp import Receiver, receiver
from tornado_api import traces
from tornado_api.application import Feature

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
LOADED = """
import sys
from tornado_api import app, traces
app.make()
traces.start("", "api", "api-a")
with traces.span("CONSUMER", "x", begin=True), traces.resume(traces.carry()), traces.statement("SELECT 1"):
    traces.end_request(traces.begin_request("/", "1", {}), "GET", "/", "200")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
# More spans than the queue holds. Prints the median of a request's seconds.
LOAD = """
import logging, statistics, sys, time
from tornado_api import traces
logging.basicConfig(format="%(message)s", level=logging.INFO)
traces.start(sys.argv[1], "api", "api-a")
times = []
for _ in range(1500):
    began = time.perf_counter()
    spans = traces.begin_request("/x", "1" * 32, {})
    with traces.statement("SELECT 1"):
        traces.end_request(spans, "GET", "/x", "200")
    times.append(time.perf_counter() - began)
traces.tracer.span_processor.force_flush()
print(statistics.median(times))
"""


def python(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"APP": "api", "INSTANCE": "api-a"} | variables
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=False)


@pytest.fixture
def features() -> list[Feature]:
    return [Feature([(r"/faulty/.*", FaultyHandler)])]


@pytest.fixture
def otlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(traces, "tracer", None)
    with receiver() as this:
        traces.start(this.endpoint, "api", "api-a")
        yield this


@pytest.fixture
def uninstalled(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that cannot import OpenTelemetry. redis-py imports it where it can."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError")
    return {"PYTHONPATH": f"{tmp_path}:{PROJECT}"}


@pytest.mark.slow
def test_nothing_is_imported_while_traces_are_off(uninstalled: dict[str, str]) -> None:
    done = python("-c", LOADED, **uninstalled)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "endpoint", ["localhost:4318", "http://", "http://user:secret@host", "ftp://host", "http://h/?q"]
)
def test_an_endpoint_that_is_no_address(endpoint: str) -> None:
    done = python("-m", "tornado_api.settings", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    expected = "http://host:port or https://host, or empty"
    assert done.stderr == f"api: OTEL_EXPORTER_OTLP_ENDPOINT: malformed; should be {expected}\n"
    assert done.returncode


@pytest.mark.slow
def test_packages_that_are_missing(uninstalled: dict[str, str]) -> None:
    done = python("-m", "tornado_api.settings", OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318", **uninstalled)
    assert done.stderr.startswith("api: OTEL_EXPORTER_OTLP_ENDPOINT: the packages of the group otel are missing; run ")
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)


async def test_a_request_continues_the_trace_that_nginx_passes_on(api: Served, otlp: Receiver) -> None:
    headers = {"Traceparent": TRACEPARENT, "X-Request-ID": TRACE, "X-Request-Arrival": "1700000000.500 0.250"}
    assert (await api.client.get("/faulty/private?q=secret", headers=headers)).status_code == 500
    nginx, span = await asyncio.to_thread(otlp.wait, TRACE, "nginx")
    assert (nginx.name, nginx.parent, nginx.start) == ("nginx", PARENT, 1_700_000_000_250_000_000)
    assert (span.name, span.parent, span.failed) == ("GET /faulty/.*", nginx.id, True)
    for hidden in ("secret", "private", "127.0.0.1"):
        assert hidden not in otlp.text


async def test_the_id_of_a_trace_is_that_of_its_request(api: Served, otlp: Receiver) -> None:
    await api.client.get("/health/ready", headers={"X-Request-ID": "0" * 31 + "1"})
    await api.client.get("/none", headers={"X-Request-ID": "0" * 31 + "2"})
    assert [span.name for span in await asyncio.to_thread(otlp.wait, "0" * 31 + "2", "nginx")] == ["nginx", "GET none"]
    assert len(otlp.spans) == 2


def test_the_sampler_of_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setattr(traces, "tracer", None)
    traces.start("http://127.0.0.1:1", "api", "api-a")
    for headers, sampled in (({}, 0), ({"Traceparent": TRACEPARENT}, 1)):
        with traces.resume(""):
            traces.end_request(traces.begin_request("/x", TRACE, headers), "GET", "/x", "200")
            assert traces.carry().startswith(f"00-{TRACE}-")
            assert int(traces.carry()[-2:], 16) & 1 == sampled


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [True, False])
def test_a_server_that_takes_no_traces(hangs: bool) -> None:
    with ExitStack() as stack:
        port = servers.free_port()
        if hangs:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        done = python("-c", LOAD, f"http://127.0.0.1:{port}", OTEL_EXPORTER_OTLP_TIMEOUT="0.2")
    assert done.stderr == "traces were not sent: the server of OTEL_EXPORTER_OTLP_ENDPOINT did not take them\n"
    print(f"{1e6 * float(done.stdout):.0f} microseconds a request")
    assert float(done.stdout) < 0.001
