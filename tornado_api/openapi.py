"""The OpenAPI 3.1 document, made from the types that validate (schemas.py), and the page that shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from tornado.template import Template

from .limits import HEARTBEAT, MAX_BODY
from .problem import Problem
from .schemas import LARGEST_ID, Key, ListQuery, NewVote, PollQuery, QuestionPage, QuestionWithChoices, Tally, Vote

JSON, EVENTS, PROBLEM = "application/json", "text/event-stream", "application/problem+json"


class Operation(NamedTuple):
    """An endpoint. `example` follows `curl`; `problems` are its statuses beside those that all have."""

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


ETAG = {"ETag": {"description": "The tally's version", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}
OPERATIONS = [
    Operation(
        "get",
        "/api/v1/questions",
        "listQuestions",
        "List questions",
        "Newest first.",
        "'/api/v1/questions?state=open'",
        {200: {"description": "A page of them", "content": content(QuestionPage)}},
        (422,),
        query=ListQuery,
    ),
    Operation(
        "get",
        "/api/v1/questions/{id}",
        "readQuestion",
        "Read a question",
        "With its choices.",
        "/api/v1/questions/1",
        {200: {"description": "The question", "content": content(QuestionWithChoices)}},
        (404,),
    ),
    Operation(
        "get",
        "/api/v1/questions/{id}/results",
        "readResults",
        "Read a question's results",
        "The tally as the database has it now. Its version is the ETag: send it back, get 304 while nothing changed.",
        "-H 'If-None-Match: \"12\"' /api/v1/questions/1/results",
        {
            200: {"description": "The tally", "content": content(Tally), "headers": ETAG},
            304: {"description": "It is the one that you have", "headers": ETAG},
        },
        (404,),
        headers={"If-None-Match": text("The ETag that you have")},
    ),
    Operation(
        "post",
        "/api/v1/questions/{id}/votes",
        "castVote",
        "Vote",
        "Once for each question and user; the first vote stands. The site gives you a token, on your account's page. "
        "If no answer comes, send the vote again with the same Idempotency-Key: it counts once, and each time the "
        "answer is 201, after the question has closed too.",
        "-H \"Authorization: Bearer $TOKEN\" -H 'Idempotency-Key: 5f0c7a2e' --json '{\"choice\": 1}' "
        "/api/v1/questions/1/votes",
        {201: {"description": "The vote counts", "content": content(Vote)}},
        (401, 404, 409, 410, 413, 415, 422, 429),
        headers={"Idempotency-Key": Key},
        body=NewVote,
    ),
    Operation(
        "get",
        "/api/v1/live/questions/{id}/events",
        "watchEvents",
        "Watch a question's results: server-sent events",
        "An event's data is a Tally and its id the version: the newest state, which replaces what you have. Every "
        f"{HEARTBEAT} s without news there is a comment. When the stream ends, come back after the time that `retry` "
        "says, as browsers do.",
        "--no-buffer /api/v1/live/questions/1/events",
        {200: {"description": "A stream", "content": {EVENTS: {"schema": {"type": "string"}}}}},
        (404,),
        headers={"Last-Event-ID": text("The version that you have: the stream begins with the next one")},
    ),
    Operation(
        "get",
        "/api/v1/live/questions/{id}/socket",
        "watchSocket",
        "Watch a question's results: WebSocket",
        "A text message is a Tally: the newest state, which replaces what you have. The server closes with 1012 when "
        "it restarts (come back some random seconds later), 1003 when you send a message, 1008 when you do not read, "
        "and 1000 when the question was deleted.",
        "--no-buffer --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
        "-H 'Sec-WebSocket-Key: bGl2ZSBwb2xscyBhcGkgMQ==' /api/v1/live/questions/1/socket",
        {101: {"description": "The WebSocket is open"}},
        (403, 404, 426),
        headers={
            "Upgrade": text("websocket"),
            "Sec-WebSocket-Version": text("13"),
            "Sec-WebSocket-Key": text("As in RFC 6455"),
        },
    ),
    Operation(
        "get",
        "/api/v1/live/questions/{id}/poll",
        "watchPoll",
        "Watch a question's results: long-poll",
        "Answers at once when the version is not the one that you have, and otherwise as soon as there is another.",
        "'/api/v1/live/questions/1/poll?after=12&wait=10'",
        {
            200: {"description": "The newest tally", "content": content(Tally)},
            204: {"description": "Nothing new in that time, or the server restarts: ask again"},
        },
        (404, 422),
        query=PollQuery,
    ),
]
DESCRIPTIONS = {
    400: "The request is malformed",
    401: "No token, or one that is malformed, expired or another site's",
    403: "A page of another site may not open this",
    404: "No such question or choice",
    409: "You have voted on this question before",
    410: "The question is closed",
    413: f"The body has more than {MAX_BODY} bytes",
    415: "The body is not application/json",
    422: "The body or the query is not as described, and `errors` names the field; or the key was another choice's",
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
    "description": "The question's",
    "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
}


def problem(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": DESCRIPTIONS[status], "content": content(Problem, PROBLEM)}
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


def operation(endpoint: Operation) -> dict[str, Any]:
    problems = {status: problem(status) for status in (*endpoint.problems, *EVERYWHERE)}
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
        described["security"] = [{"token": []}]
    return described


def document() -> dict[str, Any]:
    """As in https://spec.openapis.org/oas/v3.1.1.html"""
    _, schemas = msgspec.json.schema_components(
        [QuestionPage, QuestionWithChoices, Tally, NewVote, Vote, Problem], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Live polls",
            "version": "1",
            "description": "Questions, votes, and results as they move. Errors are problem details (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": {endpoint.path: {endpoint.method: operation(endpoint)} for endpoint in OPERATIONS},
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


DOCUMENT = document()
JSON_DOCUMENT = msgspec.json.encode(DOCUMENT)
HERE = Path(__file__).parent
PAGE = Template((HERE / "docs.html").read_text(), whitespace="oneline")
STYLE = (HERE / "docs.css").read_bytes()
