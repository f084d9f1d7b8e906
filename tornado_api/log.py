"""Logging: JSON lines on stderr, each with the id of its request."""

import logging
from contextvars import ContextVar
from typing import Any

from .settings import APP, INSTANCE, LOG_LEVEL, SENTRY_DSN

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.msgspec.MsgspecFormatter",
            "fmt": ["levelname", "name", "process", "request_id", "message"],
            "timestamp": "time",
            "rename_fields": {"levelname": "level", "name": "logger", "process": "pid"},
            "static_fields": {"app": APP, "instance": INSTANCE},
        },
    },
    "filters": {"request_id": {"()": "tornado_api.log.RequestId"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request_id"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Without this, gunicorn gives its loggers handlers of their own.
    "loggers": {
        "gunicorn.error": {"handlers": [], "propagate": True, "level": LOG_LEVEL},
        "gunicorn.access": {"handlers": [], "propagate": False},
    },
}

if SENTRY_DSN:
    handler = {"class": "sentry_sdk.integrations.logging.EventHandler", "level": "ERROR", "filters": ["request_id"]}
    LOGGING["handlers"]["sentry"] = handler
    LOGGING["root"]["handlers"].append("sentry")
