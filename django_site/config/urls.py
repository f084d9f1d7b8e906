from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from .apps import APPS

# The admin has no log-in of its own, because it would need no second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = settings.TITLE

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    *(path(prefix, include(f"{app}.urls")) for app, prefix in APPS.items()),
    path("admin/", admin.site.urls),
]
if settings.S3:
    from . import bucket

    urlpatterns.append(path("media/<path:name>", bucket.serve))
if settings.USE_I18N:
    # Every page has this form. A secret in it would keep the page out of nginx's cache, and another site that sends it
    # would only change the language.
    urlpatterns.append(path("language/", csrf_exempt(require_POST(set_language)), name="set_language"))
if "debug_toolbar" in settings.INSTALLED_APPS:
    urlpatterns.append(path("__debug__/", include("debug_toolbar.urls")))
