import faulthandler
import os
from contextlib import suppress
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

from . import metrics, traces
from .env import APP

# uWSGI ends a worker that is stuck with SIGABRT: this logs where it was stuck.
faulthandler.enable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)


class Request(WSGIRequest):
    """A request with a Content-Type that Django cannot read, which config.middleware.check answers.

    Django reads it before its error handling begins: the server would answer for the site.
    """

    fault: Exception | None = None

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except Exception as error:
            self.content_type, self.content_params, self.fault = "", {}, error


class Handler(WSGIHandler):
    request_class = Request


def start_worker() -> None:
    metrics.keep(settings.VAR_DIR / "run/metrics", APP, settings.INSTANCE)
    traces.start(settings.OTEL_EXPORTER_OTLP_ENDPOINT, APP, settings.INSTANCE)


with suppress(ImportError):
    # Under uWSGI, which loads the site once and then forks its workers.
    uwsgi: Any = import_module("uwsgi")
    uwsgi.post_fork_hook = start_worker
application = Handler()
# Django would import the views with the first request, and an instance whose views cannot be imported be ready.
import_module("config.urls")
