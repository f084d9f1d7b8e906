"""A WSGI framework: routes, handlers, templates, static files, errors, middleware. Django adds decades of care.

The application is a callable (PEP 3333) that finds a function for a Request and returns its Response. Middleware takes
such a function and returns another one. lab/modes/scratch-framework.md has an example that uses all of it.
"""

import http
import mimetypes
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

MAX_FORM = 65_536
METHODS = ("get", "post", "put", "patch", "delete")
# The types of a route's parameters: the pattern, and the function that converts the argument.
KINDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": ("[0-9]{1,18}", int),
    "str": ("[^/]+", str),
    "path": (".+", str),
}


class HTTPError(Exception):
    """Ends a request with this status."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.headers = status, dict(headers or {})


@dataclass
class Request:
    environ: WSGIEnvironment

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    @property
    def path(self) -> str:
        """Raises HTTPError, 400. WSGI passes bytes as a latin-1 string."""
        try:
            return str(self.environ.get("PATH_INFO", "")).encode("latin-1").decode() or "/"
        except UnicodeDecodeError:
            raise HTTPError(400) from None

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True)

    def form(self) -> dict[str, list[str]]:
        """Raises HTTPError: 400, 413, 415. Call it once: it reads the body."""
        if self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            raise HTTPError(415)
        # Read no further: the next bytes on the connection, if any, belong to the next request.
        length = self.environ.get("CONTENT_LENGTH") or "0"
        if not re.fullmatch("[0-9]+", length):
            raise HTTPError(400)
        if int(length) > MAX_FORM:
            raise HTTPError(413)
        try:
            return parse_qs(self.environ["wsgi.input"].read(int(length)).decode(), keep_blank_values=True)
        except ValueError:
            raise HTTPError(400) from None


@dataclass
class Response:
    body: str | bytes = b""
    status: int = 200
    type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Call = Callable[[Request], Response]
Middleware = Callable[[Call], Call]


class Handler:
    """Has a method for each HTTP method, with its name in lower case. Each request gets its own object."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def dispatch(self, arguments: dict[str, Any]) -> Response:
        # HEAD is answered like GET; App omits the body.
        name = "get" if self.request.method == "HEAD" else self.request.method.lower()
        if name not in METHODS or not hasattr(self, name):
            allowed = [each.upper() for each in METHODS if hasattr(self, each)]
            raise HTTPError(405, {"Allow": ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed)})
        response = getattr(self, name)(**arguments)
        assert isinstance(response, Response)
        return response


def on_error(request: Request, error: HTTPError) -> Response:
    body = f"<h1>{error.status} {http.HTTPStatus(error.status).phrase}</h1>\n"
    return Response(body, error.status, headers=error.headers)


class App:
    def __init__(
        self, middleware: Iterable[Middleware] = (), on_error: Callable[[Request, HTTPError], Response] = on_error
    ) -> None:
        self.routes: list[tuple[re.Pattern[str], dict[str, Callable[[str], Any]], type[Handler]]] = []
        self.on_error = on_error
        # Inside all middleware, so that middleware sees error responses too.
        self.call: Call = self.answer
        for each in reversed(list(middleware)):
            self.call = each(self.call)

    def route(self, pattern: str) -> Callable[[type[Handler]], type[Handler]]:
        """Convert a path such as `/questions/<int:id>`. The names in angle brackets become arguments of the handler."""
        kinds: dict[str, Callable[[str], Any]] = {}
        regex = ""
        for literal, kind, name in re.findall(r"([^<]+)|<(\w+):(\w+)>", pattern):
            if literal:
                regex += re.escape(literal)
            else:
                expression, kinds[name] = KINDS[kind]
                regex += f"(?P<{name}>{expression})"

        def add(handler: type[Handler]) -> type[Handler]:
            self.routes.append((re.compile(regex), kinds, handler))
            return handler

        return add

    def static(self, prefix: str, directory: Path) -> None:
        class Static(Handler):
            def get(self, name: str) -> Response:
                return static_file(directory, name)

        self.route(f"{prefix}<path:name>")(Static)

    def answer(self, request: Request) -> Response:
        try:
            for regex, kinds, handler in self.routes:
                if match := regex.fullmatch(request.path):
                    arguments = {name: kinds[name](value) for name, value in match.groupdict().items()}
                    return handler(request).dispatch(arguments)
            raise HTTPError(404)
        except HTTPError as error:
            return self.on_error(request, error)
        except Exception:
            # The client gets no details.
            traceback.print_exc(file=request.environ["wsgi.errors"])
            return self.on_error(request, HTTPError(500))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        response = self.call(request)
        body = response.body.encode() if isinstance(response.body, str) else response.body
        headers = {"Content-Type": response.type, "Content-Length": str(len(body)), **response.headers}
        start_response(f"{response.status} {http.HTTPStatus(response.status).phrase}", list(headers.items()))
        return [b"" if request.method == "HEAD" else body]


def static_file(directory: Path, name: str) -> Response:
    """Raises HTTPError, 404, also for a file outside `directory`.

    The path is resolved before it is compared, so that `..`, absolute paths and symbolic links cannot lead outside.
    """
    root = directory.resolve()
    try:
        file = (root / name).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise HTTPError(404)
        kind, encoding = mimetypes.guess_type(file.name)
        return Response(file.read_bytes(), type=kind if kind and not encoding else "application/octet-stream")
    except (OSError, ValueError):  # may not be read; a NUL in its name
        raise HTTPError(404) from None
