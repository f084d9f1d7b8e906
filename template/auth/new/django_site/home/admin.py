"""Waves can be looked at only."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Wave


@admin.register(Wave)
class WaveAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["user", "created_at"]
    list_select_related = ["user"]
    list_filter = ["created_at"]
    search_fields = ["user__username"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
