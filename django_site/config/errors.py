"""Error pages. An outage of the database or the media store, or a long queue, is a 503 and not a 500."""

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader
from django.utils.log import log_response

from .media import Away

logger = logging.getLogger(__name__)

PAGES = {
    "bad request": ("This request made no sense", "Nothing was changed. Go back and try again."),
    "forbidden": ("This is not for you", "Your account may not do this."),
    "csrf": (
        "That form was too old",
        "Nothing was changed. Go back, reload the page, and send it again; the site needs cookies for this.",
    ),
    "not found": ("Nothing is here", "What was here may have been deleted, or the address has a mistake in it."),
    "server error": ("Something broke", "It is our fault, and it has been logged. Try again in a moment."),
    "unavailable": (
        "Back in a moment",
        "The site is very busy, or its data cannot be reached. Try again in a few seconds; "
        "nothing that was acknowledged is lost.",
    ),
}


def page(request: HttpRequest, name: str, status: int) -> HttpResponse:
    """Return an error page with the site's navigation, which may query the session and the user."""
    title, text = PAGES[name]
    return render(request, "error.html", {"title": title, "text": text}, status=status)


def plain_page(name: str, status: int) -> HttpResponse:
    """Return an error page that needs no database, session or user."""
    title, text = PAGES[name]
    return HttpResponse(loader.render_to_string("plain_error.html", {"title": title, "text": text}), status=status)


def unavailable(reason: str) -> HttpResponse:
    """Return the 503 page. nginx adds Retry-After."""
    response = plain_page("unavailable", 503)
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


# Django calls these while it handles the error, whichever middleware or view raised it.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    # Django takes a session that could not be saved for a deleted one, and raises a 400.
    return outage(exception) or plain_page("bad request", 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, "forbidden", 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return page(request, "csrf", 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, "not found", 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return outage(sys.exception()) or plain_page("server error", 500)
