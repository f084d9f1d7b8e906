"""The OpenAPI 3.1 document, made from the types that validate requests (schemas.py)."""

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
    means that it takes a token.
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


class Section(NamedTuple):
    """The part of the document that describes one feature.

    `types` are those that its operations name. `descriptions` are of its problems, by status, where the general ones
    (DESCRIPTIONS) do not fit.
    """

    operations: Sequence[Operation] = ()
    types: Sequence[type[msgspec.Struct]] = ()
    descriptions: Mapping[int, str] = {}


class About(NamedTuple):
    """An app's title, what it serves, and the prefix of its paths: "/api/"."""

    title: str
    description: str
    prefix: str


def content(type: type[msgspec.Struct], media: str = JSON) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{type.__name__}"}}}


def text(description: str) -> Any:
    """The type of a header."""
    return Annotated[str, msgspec.Meta(description=description)]


def version_header(description: str) -> dict[str, Any]:
    """The ETag of ResourceHandler.answer_newest."""
    return {"ETag": {"description": description, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}


def watch_operations(id: str, path: str, what: str, state: type[msgspec.Struct]) -> list[Operation]:
    """The three ways to watch, served by watching.watch_routes."""
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
        f"An event's data is a {name}, the newest state, which replaces the one that you have. Its id is the "
        f"version. After {HEARTBEAT} s without news the server sends a comment. When the stream ends, reconnect "
        "after the time that `retry` gives, as browsers do.",
        f"--no-buffer {example}/events",
        {200: {"description": "A stream", "content": {EVENTS: {"schema": {"type": "string"}}}}},
        missing,
        headers={"Last-Event-ID": text("The version that you have: the stream begins with the next one")},
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
        f"A text message is a {name}, the newest state, which replaces the one that you have. The server closes "
        "with 1012 when it restarts (reconnect after some random seconds), 1003 when you send a message, 1008 when "
        "you do not read, and 1000 when the thing that you watch was deleted.",
        "--no-buffer --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
        f"-H 'Sec-WebSocket-Key: bGl2ZSBzdGF0ZSBhcGkgMQ==' {example}/socket",
        {101: {"description": "The WebSocket is open"}},
        (403, *missing, 426),
        headers={
            "Upgrade": text("websocket"),
            "Sec-WebSocket-Version": text("13"),
            "Sec-WebSocket-Key": text("As in RFC 6455"),
        },
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
        "Answers at once if you do not have the newest version, and otherwise as soon as there is another.",
        f"'{example}/poll?after=12&wait=10'",
        {
            200: {"description": f"The newest {name.lower()}", "content": content(state)},
            204: {"description": "Nothing new in that time, or the server restarts: repeat the request"},
        },
        (*missing, 422),
        query=LongPollQuery,
    )


DESCRIPTIONS = {
    400: "The request is malformed",
    401: "The token is missing, malformed, expired or another site's",
    403: "A page of another site may not open this",
    404: "There is nothing at this address",
    413: f"The body has more than {MAX_BODY} bytes",
    415: "The body is not application/json",
    422: "The body or the query is not as described, and `errors` names the field",
    426: "The request is not a WebSocket handshake",
    429: "Too many requests in a short time",
    503: "The server restarts, the database does not answer, or too many clients are watching",
}
HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
EVERYWHERE = (400, 503)
ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of the thing that the path names",
    "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
}


def problem(status: int, description: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": description, "content": content(Problem, PROBLEM)}
    if status in HEADERS:
        response["headers"] = {HEADERS[status]: {"schema": {"type": "string"}}}
    return response


def parameters(endpoint: Operation) -> list[dict[str, Any]]:
    found = [ID] if "{id}" in endpoint.path else []
    if endpoint.query:
        schema = msgspec.json.schema_components([endpoint.query])[1][endpoint.query.__name__]
        for name, field in schema["properties"].items():
            description = field.pop("description")
            found.append({"name": name, "in": "query", "description": description, "schema": field})
    for name, header in endpoint.headers.items():
        schema = msgspec.json.schema(header)
        found.append({"name": name, "in": "header", "description": schema.pop("description"), "schema": schema})
    return found


def operation(endpoint: Operation, descriptions: Mapping[int, str]) -> dict[str, Any]:
    problems = {status: problem(status, descriptions[status]) for status in (*endpoint.problems, *EVERYWHERE)}
    described = {
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": parameters(endpoint),
        "responses": {str(status): response for status, response in sorted({**endpoint.responses, **problems}.items())},
        "x-codeSamples": [{"lang": "Shell", "source": f"curl {endpoint.example}"}],
    }
    if endpoint.body:
        described["requestBody"] = {"required": True, "content": content(endpoint.body)}
    if 401 in endpoint.problems:
        described["security"] = [{"token": []}]
    return described


def document(about: About, sections: Iterable[Section]) -> dict[str, Any]:
    """The document of an app, as in https://spec.openapis.org/oas/v3.1.1.html."""
    paths: dict[str, dict[str, Any]] = {}
    types: list[type[msgspec.Struct]] = [Problem]
    for section in sections:
        descriptions = {**DESCRIPTIONS, **section.descriptions}
        for endpoint in section.operations:
            paths.setdefault(endpoint.path, {})[endpoint.method] = operation(endpoint, descriptions)
        types += section.types
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.1",
        "info": {
            "title": about.title,
            "version": "1",
            "description": f"{about.description} Errors are problem details (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
