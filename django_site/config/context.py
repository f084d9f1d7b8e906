from django.conf import settings
from django.http import HttpRequest


def site_title(request: HttpRequest) -> dict[str, str]:
    """For the templates; the admin's own have it by the same name."""
    return {"site_title": settings.TITLE}
