"""The request's id, which nginx makes, in every log line and in the response; one access line each; none begun late."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from .errors import unavailable

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
access = logging.getLogger("access")

# Seconds in the queue. A client that waited longer has probably left or sent the request again. When stuck workers end
# at their deadline of 20 s, the requests that queued behind them are rejected at once instead of delaying new ones. The
# time also includes the 4 s until nginx notices that another host, which held the request, has lost power.
LONGEST_WAIT = 8


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def waited(request: HttpRequest) -> float:
    """Return the seconds since nginx, after it read the whole body, passed the request on; 0 if nginx does not say."""
    passed_on = request.headers.get("X-Request-Start", "")
    return time.time() - float(passed_on) if re.fullmatch(r"[0-9]{10}\.[0-9]{3}", passed_on) else 0


def shed(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        wait = waited(request)
        if wait > LONGEST_WAIT:
            return unavailable(f"not begun: waited {wait:.1f} s in the queue")
        return get_response(request)

    return middleware


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
