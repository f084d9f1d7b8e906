"""A server that takes traces by OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp"""

from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from threading import Condition
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.receiver import receiving


class Span(NamedTuple):
    """`kind` is that of OpenTelemetry without SPAN_KIND_; start and end are nanoseconds since 1970."""

    trace: str
    id: str
    parent: str
    app: str
    kind: str
    name: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]


class Receiver:
    """`spans` has what arrived, and `text` all of it for searches."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.text = ""
        self.arrived = Condition()

    def take(self, body: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(body)
        with self.arrived:
            self.text += str(sent)
            for of_process in sent.resource_spans:
                app = values(of_process.resource.attributes)["service.name"]
                self.spans += [read(app, span) for scope in of_process.scope_spans for span in scope.spans]
            self.arrived.notify_all()

    def wait(self, trace: str, *names: str) -> list[Span]:
        """Return the spans of a trace in the order of their start, once it has spans of these names."""

        def found() -> list[Span]:
            return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.start)

        with self.arrived:
            done = self.arrived.wait_for(lambda: {*names} <= {span.name for span in found()}, timeout=30)
            assert done, (names, show(found()))
            return found()


def values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def read(app: str, span: Any) -> Span:
    kind = span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
    times = (span.start_time_unix_nano, span.end_time_unix_nano)
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Span(*ids, app, kind, span.name, *times, span.status.code == 2, values(span.attributes))


def show(spans: list[Span], parent: str = "", indent: str = "") -> str:
    """Return a trace as a tree, each span with its milliseconds."""
    children = [span for span in spans if span.parent == parent]
    lines = [f"{indent}{span.app}: {span.name} ({(span.end - span.start) / 1e6:.1f} ms)" for span in children]
    return "".join(f"{line}\n{show(spans, span.id, f'{indent}  ')}" for line, span in zip(lines, children, strict=True))


@contextmanager
def receiver() -> Iterator[Receiver]:
    def take(path: str, headers: Message, body: bytes) -> None:
        assert (path, headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        this.take(body)

    with receiving(take) as port:
        this = Receiver(port)
        yield this
