from allauth.account.views import logout
from django.urls import include, path
from django.views.decorators.http import require_POST

from . import views

urlpatterns = [
    path("", views.account, name="account"),
    path("delete/", views.delete, name="account_delete"),
    # Before allauth's own.
    path("signup/", views.SignUpView.as_view(), name="account_signup"),
    path("logout/", require_POST(logout), name="account_logout"),
    path("", include("allauth.account.urls")),
    path("2fa/", include("allauth.mfa.urls")),
]
