"""Addresses below `/health/`, before hosts and sessions are checked. Clients reach only `/health/up` (nginx, `up`)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST
from redis import Redis, RedisError

from . import metrics

LIMIT = 2.0  # seconds for a check

# A frozen database blocks its client, whatever the client's timeouts are. So the check waits on a thread. There is only
# one, so that a long outage does not accumulate threads.
thread = ThreadPoolExecutor(max_workers=1)


def check_database() -> None:
    """Open a new connection, as a new worker would, and read a table. Raises the database's errors."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    finally:
        connection.close()


def database() -> str:
    """Return `ok`, or the reason in one line."""
    check = thread.submit(check_database)
    try:
        check.result(timeout=LIMIT)
    except TimeoutError:
        check.cancel()
        return f"no answer within {LIMIT:g} s"
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return "ok"


def bus() -> str:
    """Return `ok`, `off` without Redis, or the reason in one line."""
    if not settings.REDIS_URL:
        return "off"
    try:
        with Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS) as redis:
            redis.ping()
    except RedisError as error:
        return " ".join(str(error).split()) or type(error).__name__
    return "ok"


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        if request.path == "/health/live":
            return JsonResponse({"status": "live"})
        if request.path == "/health/up":
            return HttpResponse(status=200 if database() == "ok" else 503)
        if request.path == "/health/metrics":
            return HttpResponse(metrics.read(), content_type=CONTENT_TYPE_LATEST)
        if request.path == "/health/ready":
            parts = {"database": database(), "bus": bus()}
            ready = parts["database"] == "ok" and parts["bus"] in ("ok", "off")
            return JsonResponse({"status": "ready" if ready else "unready"} | parts, status=200 if ready else 503)
        return get_response(request)

    return answer
