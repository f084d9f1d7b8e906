"""Error pages. They read nothing from the request, because reading it again might raise the same error.

An outage of the database or the media store, or a long queue, is a 503 and not a 500.
"""

import logging
import sys

from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template import loader
from django.utils.log import log_response
from django.utils.translation import gettext_lazy as _

from .media import Away

logger = logging.getLogger(__name__)

# Of PostgreSQL: the server became a standby, or its provider stopped writes; and an administrator stopped it.
READ_ONLY, SHUTDOWN = "25006", "57P01"

PAGES = {
    "bad request": (_("This request made no sense"), _("Nothing was changed. Go back and try again.")),
    "forbidden": (_("This is not for you"), _("Your account may not do this.")),
    "csrf": (
        _("That form was too old"),
        _("Nothing was changed. Go back, reload the page, and send it again; the site needs cookies for this."),
    ),
    "method not allowed": (_("That does not work here"), _("This page does not take that kind of request. Go back.")),
    "not found": (_("Nothing is here"), _("What was here may have been deleted, or the address has a mistake in it.")),
    "server error": (_("Something broke"), _("It is our fault, and it has been logged. Try again in a moment.")),
    "unavailable": (
        _("Back in a moment"),
        _(
            "The site is very busy, or its data cannot be reached. Try again in a few seconds; "
            "nothing that was acknowledged is lost."
        ),
    ),
}


def page(name: str, status: int) -> HttpResponse:
    title, text = PAGES[name]
    context = {"title": title, "text": text, "site_title": settings.TITLE}
    return HttpResponse(loader.render_to_string("error.html", context), status=status)


def unavailable(reason: str) -> HttpResponse:
    """Return the 503 page. nginx adds Retry-After."""
    response = page("unavailable", 503)
    # Instead of Django's own entry, which for an outage would be a traceback for each request.
    log_response("%s", reason, response=response, logger=logger, level="warning")
    return response


def outage(error: BaseException | None) -> HttpResponse | None:
    """The answer to an error that the database or the media store made, if only by way of others."""
    while error:
        if isinstance(error, Away):
            return unavailable(str(error))
        state = getattr(error.__cause__, "sqlstate", "")
        if state == READ_ONLY or isinstance(error, (OperationalError, InterfaceError)):
            response = unavailable(f"database: {' '.join(str(error).split()) or type(error).__name__}")
            # Only a connection to PostgreSQL has this attribute.
            if state in (READ_ONLY, SHUTDOWN) or getattr(connection.connection, "closed", False):
                connection.close()  # a new one may find the primary
                response.lost_connection = True  # type: ignore[attr-defined]
            return response
        error = error.__cause__ or error.__context__
    return None


def unfit(error: BaseException | None) -> HttpResponse | None:
    """Return a 400 if the database refused a value of the request: a number that is too large, or text with a NUL."""
    # SQLite's driver raises OverflowError, PostgreSQL's DataError.
    if not isinstance(error, (DataError, OverflowError)):
        return None
    response = page("bad request", 400)
    log_response("not a value for the database: %s", error, response=response, logger=logger, level="warning")
    return response


# Django calls these while it handles the error, whichever middleware or view raised it.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Django takes a session that could not be saved for a deleted one, and raises a 400.
    return outage(exception) or page("bad request", 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page("forbidden", 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    # A class that takes no form answers 405, as it would if the request had a token. For functions, read_only does.
    view = getattr(request.resolver_match and request.resolver_match.func, "view_class", None)
    if view and not hasattr(view, "post"):
        return HttpResponseNotAllowed(["GET", "HEAD", "OPTIONS"])
    return page("csrf", 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page("not found", 404)


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exception()
    return outage(error) or unfit(error) or page("server error", 500)
