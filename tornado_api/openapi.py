"""The OpenAPI 3.1 document, generated from the types that validate requests (schemas.py).

Descriptions are CommonMark. The page /api/ shows `code` in them as code.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from .limits import HEARTBEAT, MAX_BODY
from .problem import Problem
from .schemas import LARGEST_ID, LongPollQuery

JSON, EVENTS, PROBLEM = "application/json", "text/event-stream", "application/problem+json"


class Operation(NamedTuple):
    """A method of an endpoint.

    `example` follows `curl`. `problems` are the statuses of its errors, except those that every operation has. 401
    means that it needs a token. `descriptions` are of its problems, by status, where those of the section do not fit.
    """

    method: str
    path: str
    id: str
    summary: str
    description: str
    example: str
    responses: dict[int, dict[str, Any]]
    problems: tuple[int, ...]
    query: type[msgspec.Struct] | None = None
    headers: Mapping[str, Any] = {}
    body: type[msgspec.Struct] | None = None
    descriptions: Mapping[int, str] = {}


class Section(NamedTuple):
    """The part of the document that describes one feature.

    `types` are those that its operations name. `descriptions` are of its problems, by status, where the general ones
    (DESCRIPTIONS) do not fit. `id` describes the parameter {id} of its paths.
    """

    operations: Sequence[Operation] = ()
    types: Sequence[type[msgspec.Struct]] = ()
    descriptions: Mapping[int, str] = {}
    id: str = "The id"


class About(NamedTuple):
    """An app's title, what it serves, and the prefix of its paths: "/api/"."""

    title: str
    description: str
    prefix: str


def content(type: type[msgspec.Struct], media: str = JSON) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{type.__name__}"}}}


def text(description: str) -> Any:
    """Return the type of a header."""
    return Annotated[str, msgspec.Meta(description=description)]


def version_header(description: str) -> dict[str, Any]:
    """Describe the ETag of ResourceHandler.answer_newest."""
    return {"ETag": {"description": description, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}


def watch_operations(id: str, path: str, what: str, state: type[msgspec.Struct]) -> list[Operation]:
    """Describe the three ways to watch that watching.watch_routes serves."""
    missing = (404,) if "{id}" in path else ()
    ways = (event_stream_operation, web_socket_operation, long_poll_operation)
    return [operation(id, path, what, state, missing) for operation in ways]


def event_stream_operation(
    id: str, path: str, what: str, state: type[msgspec.Struct], missing: tuple[int, ...]
) -> Operation:
    name, example = state.__name__, path.replace("{id}", "1")
    return Operation(
        "get",
        f"{path}/events",
        f"{id}Events",
        f"Watch {what}: server-sent events",
        f"The data of each event is a {name}: the newest state, which replaces the one that you have. The id of the "
        f"event is the version. After {HEARTBEAT} s without a change, the server sends a comment. When the stream "
        "ends, reconnect after the time in `retry`, as browsers do.",
        f"--no-buffer {example}/events",
        {200: {"description": "A stream of events", "content": {EVENTS: {"schema": {"type": "string"}}}}},
        missing,
        headers={"Last-Event-ID": text("The version that you have. The stream begins with a newer one")},
        descriptions=BUSY,
    )


def web_socket_operation(
    id: str, path: str, what: str, state: type[msgspec.Struct], missing: tuple[int, ...]
) -> Operation:
    name, example = state.__name__, path.replace("{id}", "1")
    return Operation(
        "get",
        f"{path}/socket",
        f"{id}Socket",
        f"Watch {what}: WebSocket",
        f"Each text message is a {name}: the newest state, which replaces the one that you have. The server closes "
        "the connection with 1012 when it restarts (reconnect after a few random seconds), with 1003 if you send a "
        "message, with 1008 if you do not read, and with 1000 if the watched object was deleted.",
        "--no-buffer --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
        f"-H 'Sec-WebSocket-Key: bGl2ZSBzdGF0ZSBhcGkgMQ==' {example}/socket",
        {101: {"description": "The WebSocket is open"}},
        (403, *missing, 426),
        headers={
            "Upgrade": text("websocket"),
            "Sec-WebSocket-Version": text("13"),
            "Sec-WebSocket-Key": text("See RFC 6455"),
        },
        descriptions=BUSY,
    )


def long_poll_operation(
    id: str, path: str, what: str, state: type[msgspec.Struct], missing: tuple[int, ...]
) -> Operation:
    name, example = state.__name__, path.replace("{id}", "1")
    return Operation(
        "get",
        f"{path}/poll",
        f"{id}LongPoll",
        f"Watch {what}: long-poll",
        "If you do not have the newest version, the response comes at once. Otherwise it comes with the next change.",
        f"'{example}/poll?after=12&wait=10'",
        {
            200: {"description": f"The newest {name.lower()}", "content": content(state)},
            204: {"description": "No change in that time, or the server restarts. Repeat the request"},
        },
        (*missing, 422),
        query=LongPollQuery,
        descriptions=BUSY,
    )


DESCRIPTIONS = {
    400: "The request is malformed",
    401: "The token is missing, malformed, expired, or signed with another key",
    403: "The request comes from a page of another site",
    404: "This address does not exist",
    413: f"The body is larger than {MAX_BODY:,} bytes",
    415: "The Content-Type is not application/json",
    422: "A query parameter has a wrong value. `errors` names it",
    426: "The request is not a WebSocket handshake",
    429: "Too many requests from your address. Wait for `Retry-After` seconds",
    503: "The server restarts, or the database does not respond. Wait for `Retry-After` seconds",
}
# Of operations with a body.
BODY = {
    400: "The request, its JSON or a header is malformed",
    422: "A field of the body is missing, unknown or has a wrong value. `errors` names it",
}
# Of operations with a long connection.
BUSY = {
    503: "The server restarts, the database does not respond, or too many clients are watching. Wait for `Retry-After` "
    "seconds"
}
HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
EVERYWHERE = (400, 503)
ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
}


def problem(status: int, description: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": description, "content": content(Problem, PROBLEM)}
    if status in HEADERS:
        response["headers"] = {HEADERS[status]: {"schema": {"type": "string"}}}
    return response


def parameters(endpoint: Operation, section: Section) -> list[dict[str, Any]]:
    found = [{**ID, "description": section.id}] if "{id}" in endpoint.path else []
    if endpoint.query:
        schema = msgspec.json.schema_components([endpoint.query])[1][endpoint.query.__name__]
        for name, field in schema["properties"].items():
            description = field.pop("description")
            found.append({"name": name, "in": "query", "description": description, "schema": field})
    for name, header in endpoint.headers.items():
        schema = msgspec.json.schema(header)
        found.append({"name": name, "in": "header", "description": schema.pop("description"), "schema": schema})
    return found


def operation(endpoint: Operation, section: Section) -> dict[str, Any]:
    own = BODY if endpoint.body else {}
    descriptions = {**DESCRIPTIONS, **own, **section.descriptions, **endpoint.descriptions}
    problems = {status: problem(status, descriptions[status]) for status in (*endpoint.problems, *EVERYWHERE)}
    described = {
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": parameters(endpoint, section),
        "responses": {str(status): response for status, response in sorted({**endpoint.responses, **problems}.items())},
        "x-codeSamples": [{"lang": "Shell", "source": f"curl {endpoint.example}"}],
    }
    if endpoint.body:
        described["requestBody"] = {"required": True, "content": content(endpoint.body)}
    if 401 in endpoint.problems:
        described["security"] = [{"token": []}]
    return described


def document(about: About, sections: Iterable[Section]) -> dict[str, Any]:
    """Return the document of an app: https://spec.openapis.org/oas/v3.1.1.html."""
    paths: dict[str, dict[str, Any]] = {}
    types: list[type[msgspec.Struct]] = [Problem]
    for section in sections:
        for endpoint in section.operations:
            paths.setdefault(endpoint.path, {})[endpoint.method] = operation(endpoint, section)
        types += section.types
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.1",
        "info": {
            "title": about.title,
            "version": "1",
            "description": f"{about.description} Errors are problem documents (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
