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

# Seconds in the queue. Who has waited longer is likely gone, or has asked again; and when workers that were stuck end
# at their deadline of 20 s, those who queued behind them are answered at once, and not in turn while more come. It
# counts, too, for how long a host held the request that has lost its power since, which is noticed after 4 s.
LONGEST_WAIT = 8


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def waited(request: HttpRequest) -> float:
    """Seconds since nginx, which has the whole body by then, passed the request on; 0 when it does not say."""
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
