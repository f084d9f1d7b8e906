from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from allauth.account.views import SignupView
from allauth.mfa.utils import is_mfa_enabled
from config.context import find_parts
from config.methods import read_only
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .models import User


class SignUpView(SignupView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        try:
            with transaction.atomic():
                response: HttpResponse = super().form_valid(form)
        except IntegrityError:  # Another request took the name after the form checked it.
            form.add_error("username", User().unique_error_message(User, ("username",)))
            response = self.form_invalid(form)
        return response


@login_required
@read_only
def account(request: HttpRequest) -> HttpResponse:
    context = {
        "sections": find_parts("account"),
        "is_verified": EmailAddress.objects.filter(user=request.user.pk, verified=True).exists(),
        "has_two_factor": is_mfa_enabled(request.user),
    }
    return render(request, "account.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required(app="allauth.account")  # type: ignore[untyped-decorator]
def delete(request: HttpRequest) -> HttpResponse:
    """Delete the user, who has typed the password again in the last minutes."""
    if request.method == "POST" and isinstance(user := request.user, User):
        logout(request)
        user.delete()
        return redirect("/")
    return render(request, "account_delete.html")
