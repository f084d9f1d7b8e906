"""The OpenAPI 3.1 document, made from the types that validate (schemas.py), and the page that shows it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from tornado.template import Template

from .limits import HEARTBEAT, MAX_BODY
from .problem import Problem
from .schemas import LARGEST_ID, PollQuery

JSON, EVENTS, PROBLEM = "application/json", "text/event-stream", "application/problem+json"


class Operation(NamedTuple):
    """An endpoint.

    `example` follows `curl`; `problems` are its statuses beside those that all have, 401 if it takes a token.
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


def content(type: type[msgspec.Struct], media: str = JSON) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{type.__name__}"}}}


def text(description: str) -> Any:
    """The type of a header."""
    return Annotated[str, msgspec.Meta(description=description)]


def version_header(description: str) -> dict[str, Any]:
    """Of Resource.answer_newest."""
    return {"ETag": {"description": description, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}


def live(id: str, path: str, what: str, state: type[msgspec.Struct]) -> list[Operation]:
    """The three ways to watch, of handlers.live."""
    name, example = state.__name__, path.replace("{id}", "1")
    missing = (404,) if "{id}" in path else ()
    return [
        Operation(
            "get",
            f"{path}/events",
            f"{id}Events",
            f"Watch {what}: server-sent events",
            f"An event's data is a {name} and its id the version: the newest state, which replaces what you have. "
            f"Every {HEARTBEAT} s without news there is a comment. When the stream ends, come back after the time that "
            "`retry` says, as browsers do.",
            f"--no-buffer {example}/events",
            {200: {"description": "A stream", "content": {EVENTS: {"schema": {"type": "string"}}}}},
            missing,
            headers={"Last-Event-ID": text("The version that you have: the stream begins with the next one")},
        ),
        Operation(
            "get",
            f"{path}/socket",
            f"{id}Socket",
            f"Watch {what}: WebSocket",
            f"A text message is a {name}: the newest state, which replaces what you have. The server closes with 1012 "
            "when it restarts (come back some random seconds later), 1003 when you send a message, 1008 when you do "
            "not read, and 1000 when what you watch was deleted.",
            "--no-buffer --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
            f"-H 'Sec-WebSocket-Key: bGl2ZSBwb2xscyBhcGkgMQ==' {example}/socket",
            {101: {"description": "The WebSocket is open"}},
            (403, *missing, 426),
            headers={
                "Upgrade": text("websocket"),
                "Sec-WebSocket-Version": text("13"),
                "Sec-WebSocket-Key": text("As in RFC 6455"),
            },
        ),
        Operation(
            "get",
            f"{path}/poll",
            f"{id}Poll",
            f"Watch {what}: long-poll",
            "Answers at once when the version is not the one that you have, and otherwise as soon as there is another.",
            f"'{example}/poll?after=12&wait=10'",
            {
                200: {"description": f"The newest {name.lower()}", "content": content(state)},
                204: {"description": "Nothing new in that time, or the server restarts: ask again"},
            },
            (*missing, 422),
            query=PollQuery,
        ),
    ]


DESCRIPTIONS = {
    400: "The request is malformed",
    401: "No token, or one that is malformed, expired or another site's",
    403: "A page of another site may not open this",
    413: f"The body has more than {MAX_BODY} bytes",
    415: "The body is not application/json",
    422: "The body or the query is not as described, and `errors` names the field",
    426: "This is no WebSocket handshake",
    429: "Too many requests in a short time",
    503: "Restarting, the database does not answer, or too many are watching",
}
HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
EVERYWHERE = (400, 503)
ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Of what the address names",
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


def document(
    title: str,
    description: str,
    operations: Iterable[Operation],
    types: Iterable[type[msgspec.Struct]],
    descriptions: Mapping[int, str] = {},
) -> dict[str, Any]:
    """As in https://spec.openapis.org/oas/v3.1.1.html; `types` are the operations', `descriptions` their statuses'."""
    descriptions = {**DESCRIPTIONS, **descriptions}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in operations:
        paths.setdefault(endpoint.path, {})[endpoint.method] = operation(endpoint, descriptions)
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.1",
        "info": {
            "title": title,
            "version": "1",
            "description": f"{description} Errors are problem details (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def kind(schema: dict[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if "items" in schema:
        return f"list of {kind(schema['items'])}"
    words = [str(schema["type"]) + (f" ({schema['format']})" if "format" in schema else "")]
    words += [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join(words)


HERE = Path(__file__).parent
PAGE = Template((HERE / "docs.html").read_text(), whitespace="oneline")
STYLE = (HERE / "docs.css").read_bytes()
