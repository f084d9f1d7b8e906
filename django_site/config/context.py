"""Values that every template can use."""

from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from .apps import APPS


@cache
def find_parts(name: str) -> list[str]:
    """Return the templates APP/NAME.html that exist: what the project's apps add to a page that they share.

    So an app adds a link or a section with a file of its own, and a page needs no change when the app is removed.
    """
    found = []
    for app in APPS:
        try:
            get_template(f"{app}/{name}.html")
        except TemplateDoesNotExist:
            continue
        found.append(f"{app}/{name}.html")
    return found


def site(request: HttpRequest) -> dict[str, object]:
    """Return the title, which the admin's templates use by the same name, and the links and languages of base.html."""
    return {
        "site_title": settings.TITLE,
        "nav_links": find_parts("nav"),
        "footer_links": find_parts("footer"),
        "languages": settings.LANGUAGES if settings.USE_I18N else [],
    }
