"""Errors as problem details, application/problem+json (RFC 9457)."""

import http
import re

import msgspec


class FieldError(msgspec.Struct):
    """A wrong value. `field` is its JSON path in the body, such as `$.name`, or the name of a query parameter."""

    field: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """An error (RFC 9457). It has no `type`, because `status` identifies the kind of error."""

    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] = []


class ProblemError(Exception):
    """Ends a request with a problem. `headers` are added to the response."""

    def __init__(
        self, status: int, detail: str, *, errors: list[FieldError] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}

    def encode(self, request_id: str) -> bytes:
        title = http.HTTPStatus(self.status).phrase
        return msgspec.json.encode(Problem(title, self.status, self.detail, request_id, self.errors))


def invalid(error: msgspec.ValidationError, root: str = "$") -> ProblemError:
    """The 422 for an error of msgspec, whose message ends in the JSON path unless that is the root."""
    detail, _, path = str(error).partition(" - at `")
    field = path.removesuffix("`") or "$"
    if named := re.search(r"(?:unknown|required) field `(.+)`$", detail):
        field += f".{named[1]}"
    field = field.replace("$", root, 1).removeprefix(".")
    return ProblemError(422, f"{field}: {detail}", errors=[FieldError(field, detail)])


def unavailable(detail: str) -> ProblemError:
    # Two seconds: a restart of the database takes about that long.
    return ProblemError(503, detail, headers={"Retry-After": "2"})
