"""Logs each request with the id that nginx created.

Before a view runs, rejects requests that waited too long, that Django cannot read, or whose method no page takes.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from .errors import page, unavailable

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
logger = logging.getLogger(__name__)
access = logging.getLogger("access")
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]

# Seconds in the queue. A client that waited longer has probably left or sent the request again. When stuck workers end
# at their deadline of 20 s, the requests that queued behind them are rejected at once instead of delaying new ones. The
# time also includes the 4 s until nginx notices that another host, which held the request, has lost power.
LONGEST_WAIT = 8


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def passed_on(request: HttpRequest) -> float:
    """Return when nginx, after it read the whole body, passed the request on; 0 if nginx does not say."""
    value = request.META.get("HTTP_X_REQUEST_START", "")
    return float(value) if re.fullmatch(r"[0-9]{10}\.[0-9]{3}", value) else 0


def shed(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        started = passed_on(request)
        wait = time.time() - started
        if started and wait > LONGEST_WAIT:
            return unavailable(f"not begun: waited {wait:.1f} s in the queue")
        return get_response(request)

    return middleware


def set_cache_control(request: HttpRequest, response: HttpResponse) -> None:
    """Say whether nginx may store a page, if the view does not set a Cache-Control. Nobody else may.

    nginx (nginx/site/http.conf) stores pages of visitors whom the site cannot know. It serves a page until the end of
    the second in which it passed the request on, and in the next second while it gets a new one. So no page is two
    seconds old, even if the clocks of nginx and the site differ.
    """
    second, mark = int(passed_on(request)), "stale-while-revalidate=1"
    same_for_all = second and response.status_code == 200 and not (response.cookies or settings.DEBUG)
    # nginx replaces the mark too. A page depends on its visitor, so a browser must revalidate it.
    response.setdefault("Cache-Control", mark if same_for_all else "private, no-cache")
    # After the mark, which nginx 1.22 ignores if it comes second.
    response["X-Accel-Expires"] = f"@{second}" if response["Cache-Control"] == mark else "0"


def request_log(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        this = request.META.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex
        request_id.set(this)  # and left so: Django logs a response of 500 and above after this has returned
        response = get_response(request)
        response["X-Request-ID"] = this
        set_cache_control(request, response)
        if deleted := response.cookies.get(settings.SESSION_COOKIE_NAME):
            deleted["httponly"] = True  # Django leaves it out when it deletes the cookie
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


def read(request: HttpRequest) -> None:
    """Read everything that Django reads when it is first used. Raises whatever that raises; ValueError for a NUL."""
    if fault := getattr(request, "fault", None):
        raise fault
    words = [request.path, *request.COOKIES, *request.COOKIES.values(), *request.POST]
    words += [word for name, values in request.GET.lists() for word in (name, *values)]
    if any("\0" in word for word in words):
        raise ValueError("a NUL, which PostgreSQL stores in no text")


def check(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer 400 or 405 before anything else uses the request."""

    def middleware(request: HttpRequest) -> HttpResponse:
        try:
            read(request)
        except Exception as error:
            # Any exception: a client can send broken bytes in a dozen formats, and the next middleware would fail too.
            logger.info("not readable: %s", error)
            return page("bad request", 400)
        response = get_response(request) if request.method in METHODS else HttpResponseNotAllowed(METHODS)
        if response.status_code == 405:
            allowed, response = response["Allow"], page("method not allowed", 405)
            response["Allow"] = allowed
        return response

    return middleware
