import uuid

from django import forms
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from .models import Wave


class WaveForm(forms.Form):
    key = forms.CharField(max_length=64)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    # A page's wave, sent again because no answer came, is known by its key.
    return render(request, "home.html", {"total": Wave.objects.count(), "key": uuid.uuid4().hex})


@require_POST
def wave(request: HttpRequest) -> HttpResponse:
    page = reverse("home:home")
    if not request.user.is_authenticated:
        return redirect_to_login(page)
    form = WaveForm(request.POST)
    if not form.is_valid():
        raise BadRequest("a wave without a key, or with too long a one")
    # The constraint finds one that is sent again, and no read before it: there is no moment in between.
    Wave.objects.get_or_create(user_id=request.user.pk, key=form.cleaned_data["key"])
    return redirect(page)
