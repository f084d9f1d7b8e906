from django.contrib import admin
from django.urls import include, path

admin.site.site_header = admin.site.site_title = "Live polls"
admin.site.index_title = "Moderation"

urlpatterns = [
    path("", include("polls.urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/", admin.site.urls),
]
