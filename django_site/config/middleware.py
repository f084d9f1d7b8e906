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
from django.utils import translation

from . import metrics, traces
from . import queries as queries  # it measures each statement
from .errors import page, unavailable

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
logger = logging.getLogger(__name__)
access = logging.getLogger("access")
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
# The Cache-Control, for nginx alone, of a page that it may store (nginx/nginx.conf).
CACHEABLE = "stale-while-revalidate=1"

# Seconds in the queue. A client that waited longer has probably left or sent the request again. When stuck workers end
# at their deadline of 20 s, the requests that queued behind them are rejected at once instead of delaying new ones. The
# time also includes the 4 s until nginx notices that another host, which held the request, has lost power.
LONGEST_WAIT = 8
WAITS = metrics.histogram("http_queue_seconds", "Waits for a worker")


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
        metrics.mine(WAITS).observe(max(0, wait))
        if wait > LONGEST_WAIT:
            return unavailable(f"not begun: waited {wait:.1f} s in the queue")
        return get_response(request)

    return middleware


def set_cache_control(request: HttpRequest, response: HttpResponse) -> None:
    """Let nginx store a page that is the same for every visitor without a cookie, unless its view sets Cache-Control.

    nginx serves it until the end of the second in which it passed the request on, and in the next second while it gets
    a new one: no page is two seconds old, even if the clocks of nginx and the site differ. Nobody else may store pages.
    """
    second, _, _ = request.headers.get("X-Request-Start", "").partition(".")
    cacheable = second and response.status_code == 200 and not (response.cookies or settings.DEBUG)
    # nginx, which knows the cookies of requests, replaces CACHEABLE by "private, no-cache" too.
    response.setdefault("Cache-Control", CACHEABLE if cacheable else "private, no-cache")
    # nginx 1.22 ignores a Cache-Control after this.
    response["X-Accel-Expires"] = f"@{second}" if response["Cache-Control"] == CACHEABLE else "0"


def request_log(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        this = request.headers.get("X-Request-ID") or uuid.uuid4().hex
        request_id.set(this)  # and left so: Django logs a response of 500 and above after this has returned
        spans = traces.begin_request(request.path, this, request.headers)
        response = get_response(request)
        response["X-Request-ID"] = this
        set_cache_control(request, response)
        if deleted := response.cookies.get(settings.SESSION_COOKIE_NAME):
            deleted["httponly"] = True  # Django leaves it out when it deletes the cookie
        if not request.path.startswith("/health/"):
            # The path without its query, which may hold what people search for, or a token.
            duration = time.perf_counter() - started
            fields = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "duration_ms": round(duration * 1000, 1),
            }
            method = request.method if request.method in METHODS else "other"
            route = f"/{request.resolver_match.route}" if request.resolver_match else "none"
            labels = (str(method), route, str(response.status_code))
            metrics.mine(metrics.REQUESTS, *labels).observe(duration)
            metrics.show_worker()
            traces.end_request(spans, *labels)
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


def repeat(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Repeat a GET once if the database ended its connection, as in a switchover. A GET changes nothing."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.method in ("GET", "HEAD") and getattr(response, "lost_connection", False):
            response = get_response(request)
        return response

    return middleware


def choose_language(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Choose the language by the cookie, or else by Accept-Language. Used with USE_I18N=on.

    Unlike Django's own, it sets no `Vary: Accept-Language`: nginx would store a page for each spelling of the header.
    Instead nginx passes on one language of the header, and stores a page for each language (nginx/site/http.conf).
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        language = translation.get_language_from_request(request)
        with translation.override(language, deactivate=True):
            response = get_response(request)
        response.setdefault("Content-Language", language)
        return response

    return middleware
