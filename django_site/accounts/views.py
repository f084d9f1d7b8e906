from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import RedirectURLMixin, redirect_to_login
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django.views.generic import FormView

from .models import Token


class SignUpView(RedirectURLMixin, FormView):  # type: ignore[type-arg]
    template_name = "signup.html"
    form_class = UserCreationForm
    next_page = settings.LOGIN_REDIRECT_URL

    def form_valid(self, form: "UserCreationForm[User]") -> HttpResponse:
        try:
            with transaction.atomic():
                user = form.save()
        except IntegrityError:  # Taken since the form looked.
            form.add_error("username", "A user with that username already exists.")
            return self.form_invalid(form)
        login(self.request, user)
        return super().form_valid(form)


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Token
        fields = ["name"]
        help_texts = {"name": "What will use it: “laptop”, for example."}


def account_page(request: HttpRequest, form: TokenForm, **context: Any) -> HttpResponse:
    tokens = Token.objects.active().filter(user=request.user.pk)
    return render(request, "account.html", {"form": form, "tokens": tokens, **context})


@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    return account_page(request, TokenForm())


@never_cache
@require_POST
def create_token(request: HttpRequest) -> HttpResponse:
    """Shows the token in the answer itself: to redirect, it would have to be kept somewhere in between."""
    if not request.user.is_authenticated:
        return redirect_to_login(reverse("accounts:account"))
    form = TokenForm(request.POST)
    if not form.is_valid():
        return account_page(request, form)
    token = Token.objects.issue(request.user, form.cleaned_data["name"])
    return account_page(request, TokenForm(), token=token)
