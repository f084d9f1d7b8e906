from typing import Any

from config.context import find_parts
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.views import RedirectURLMixin
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django.views.generic import FormView

from .models import User


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ["username"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = "At least 8 characters, not only digits, and no common password."
        self.fields["password2"].help_text = ""


class SignUpView(RedirectURLMixin, FormView):  # type: ignore[type-arg]
    template_name = "signup.html"
    form_class = SignUpForm
    next_page = settings.LOGIN_REDIRECT_URL

    def form_valid(self, form: "UserCreationForm[User]") -> HttpResponse:
        try:
            with transaction.atomic():
                user = form.save()
        except IntegrityError:  # Another request took the name after the form checked it.
            form.add_error("username", form.instance.unique_error_message(User, ("username",)))
            return self.form_invalid(form)
        login(self.request, user)
        return super().form_valid(form)


@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    return render(request, "account.html", {"sections": find_parts("account")})
