"""Who may see the stack page. Its figures are the collector's (deploy/core/stack.py), and nginx gets them there."""

from config.methods import read_only
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from .settings import OPEN


def check(request: HttpRequest) -> None:
    """Raises PermissionDenied unless the visitor may see the stack."""
    if not (OPEN or request.user.is_staff):
        raise PermissionDenied


@never_cache
@read_only
def page(request: HttpRequest) -> HttpResponse:
    if not OPEN and not request.user.is_authenticated:
        return redirect_to_login(request.path)
    check(request)
    return render(request, "stack/page.html")


@never_cache
@read_only
def live(request: HttpRequest) -> HttpResponse:
    """Tell nginx to stream the figures. A stream occupies no worker of the site."""
    check(request)
    return HttpResponse(headers={"X-Accel-Redirect": "/_stack/live"})
