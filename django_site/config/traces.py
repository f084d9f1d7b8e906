"""Traces for OpenTelemetry: spans of requests, statements, jobs and live notifications.

Each app has a copy of this file, because apps import nothing from each other. Before `start`, nothing of OpenTelemetry
is imported, and the other functions return at once.

Only a request or a job begins a trace. Spans have nothing that people send: no path, parameter, header or message of an
exception.
"""

import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from importlib import import_module
from typing import Any

logger = logging.getLogger(__name__)
# Seconds between two lines of a process about spans that could not be sent.
PAUSE = 60
# Milliseconds until spans are sent. A process that ends loses those that it has: if it waited for a server that hangs,
# a restart would take longer.
DELAY = 1000

tracer: Any = None
# The id of the next trace; 0: a random one.
trace_id: ContextVar[int] = ContextVar("trace_id", default=0)
nothing = nullcontext()


def check(app: str, endpoint: str) -> None:
    """Exit with one line if there is an endpoint and the packages are missing."""
    try:
        endpoint and import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError:
        remedy = "run `make up`, or `make deploy` with a new commit"
        sys.exit(f"{app}: OTEL_EXPORTER_OTLP_ENDPOINT: the packages of the group otel are missing; {remedy}")


def start(endpoint: str, app: str, instance: str) -> None:
    """Send the spans of this process to an endpoint, from a thread. Call this after a fork."""
    global tracer
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Exporter(OTLPSpanExporter):
        next_at = float("-inf")

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS and time.monotonic() >= self.next_at:
                self.next_at = time.monotonic() + PAUSE
                logger.warning("traces were not sent: the server of OTEL_EXPORTER_OTLP_ENDPOINT did not take them")
            return result

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return trace_id.get() or super().generate_trace_id()

    # These would log each attempt to send, and each span that is dropped while the queue is full.
    for name in ("urllib3", "opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    resource = Resource.create({"service.name": app, "service.instance.id": instance})
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    exporter = Exporter(f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=DELAY))
    tracer = provider.get_tracer(app)


def extract(traceparent: str) -> Any:
    """Return the context of a `traceparent` (https://www.w3.org/TR/trace-context/); an empty one if there is none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def carry() -> str:
    """Return the `traceparent` of the current span, for another process; empty if there is none."""
    if not tracer:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def begin_request(path: str, id: str, headers: Mapping[str, str]) -> tuple[Any, ...]:
    """Begin the spans of nginx, which makes none itself, and of the app. Return them for `end_request`."""
    if not tracer:
        return ()
    from opentelemetry import context, trace

    parent = extract(headers.get("Traceparent", ""))
    # The last request of this thread or connection has left its context.
    context.attach(context.Context())
    if path.startswith("/health/"):
        return ()
    arrived = None
    with suppress(ValueError):
        passed_on, before = map(float, headers.get("X-Request-Arrival", "").split())
        arrived = round((passed_on - before) * 1000) * 1_000_000  # nginx has milliseconds
    trace_id.set(int(id, 16) if re.fullmatch("[0-9a-f]{32}", id) else 0)
    nginx = tracer.start_span("nginx", parent, trace.SpanKind.SERVER, start_time=arrived)
    span = tracer.start_span("request", trace.set_span_in_context(nginx, parent), trace.SpanKind.SERVER)
    context.attach(trace.set_span_in_context(span, parent))
    return nginx, span


def end_request(spans: Sequence[Any], method: str, route: str, status: str) -> None:
    if not spans:
        return
    from opentelemetry.trace import StatusCode

    nginx, span = spans
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": int(status)})
    if status >= "500":
        span.set_status(StatusCode.ERROR)
    span.end()
    nginx.end()


@contextmanager
def resume(traceparent: str) -> Iterator[None]:
    """Run a block in the trace that `carry` returned; in none if it is empty."""
    if not tracer:
        yield
        return
    from opentelemetry.context import attach, detach

    token = attach(extract(traceparent))
    try:
        yield
    finally:
        detach(token)


@contextmanager
def timed(span: Any) -> Iterator[None]:
    from opentelemetry.trace import StatusCode, use_span

    # The message of an exception may have what people sent.
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise


def span(
    kind: str, name: str, attributes: Mapping[str, str | int] = {}, *, begin: bool = False
) -> AbstractContextManager[None]:
    """Make a span of a block. Without a trace, `begin` one or do nothing. `kind` is the name of a SpanKind."""
    if not tracer:
        return nothing
    from opentelemetry.trace import SpanKind, get_current_span

    if not (begin or get_current_span().get_span_context().is_valid):
        return nothing
    return timed(tracer.start_span(name, kind=SpanKind[kind], attributes=attributes))


def statement(sql: str) -> AbstractContextManager[None]:
    """Make a span of a statement of SQL, without its parameters."""
    if not tracer:
        return nothing
    words = sql.split()
    return span("CLIENT", words[0], {"db.query.text": " ".join(words)})
