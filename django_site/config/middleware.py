"""The request's id, which nginx makes, in every log line and in the response; and one access line per request."""

import logging
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
access = logging.getLogger("access")


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def request_log(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        this = request.headers.get("X-Request-ID") or uuid.uuid4().hex
        request_id.set(this)  # and left so: Django logs a response of 500 and above after this has returned
        response = get_response(request)
        response["X-Request-ID"] = this
        if not request.path.startswith("/health/"):
            # The path without its query, which may hold what people search for, or a token.
            fields = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "duration_ms": round((time.perf_counter() - started) * 1000, 1),
            }
            access.info("%(method)s %(path)s %(status)s", fields, extra=fields)
        return response

    return middleware
