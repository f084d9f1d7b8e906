"""503, and not 500, for what passes by itself: the database or the media store does not answer, the queue is long."""

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.utils.log import log_response
from django.views import defaults

from .media import Away

logger = logging.getLogger(__name__)


def unavailable(reason: str) -> HttpResponse:
    """Asks nothing of the database, the session or the user. Its Retry-After is nginx's."""
    response = HttpResponse(loader.render_to_string("503.html"), status=503)
    # Instead of Django's own entry, which for an outage would be a traceback for each request.
    log_response("%s", reason, response=response, logger=logger, level="warning")
    return response


def outage(error: BaseException | None) -> HttpResponse | None:
    """The answer to an error that the database or the media store made, if only by way of others."""
    while error:
        if isinstance(error, Away):
            return unavailable(str(error))
        if isinstance(error, (OperationalError, InterfaceError)):
            return unavailable(f"database: {' '.join(str(error).split()) or type(error).__name__}")
        error = error.__cause__ or error.__context__
    return None


# Django calls these while it handles the error, whichever middleware or view it comes from.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A session that could not be saved comes as one that somebody deleted."""
    return outage(exception) or defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    return outage(sys.exception()) or defaults.server_error(request)
