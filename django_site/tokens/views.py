from django import forms
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from .models import Token


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Token
        fields = ["name"]
        labels = {"name": _("Name")}
        help_texts = {"name": _("The program or device that uses it, for example “laptop”.")}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """Show a new token in the response to the form: a redirect would have to store the token in between."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.path)
    form = TokenForm(request.POST or None)
    created = ""
    if form.is_valid():
        created = Token.objects.issue(request.user, form.cleaned_data["name"])
        form = TokenForm()
    active = Token.objects.active().filter(user=request.user.pk)
    return render(request, "tokens/tokens.html", {"form": form, "created": created, "active": active})


@require_POST
def revoke(request: HttpRequest) -> HttpResponse:
    """Revoke the user's token with the id `jti`, or all of them without an id."""
    if not request.user.is_authenticated:
        return redirect_to_login(reverse("tokens:tokens"))
    revoked = Token.objects.filter(user=request.user.pk)
    if "jti" in request.POST:
        revoked = revoked.filter(jti=request.POST["jti"])
    revoked.revoke()
    return redirect("tokens:tokens")
