from collections.abc import Callable

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse


def require_two_factor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """With STAFF_TWO_FACTOR=on, staff without a second factor reach only the pages of their account."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if (
            settings.STAFF_TWO_FACTOR
            and not request.path.startswith(reverse("account"))
            and request.user.is_staff
            and not is_mfa_enabled(request.user)
        ):
            return redirect("mfa_activate_totp")
        return get_response(request)

    return middleware
