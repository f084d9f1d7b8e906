"""Jobs that wait, run or failed. A job that is done has no row."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import localize
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

admin.site.unregister(DBTaskResult)


@admin.register(DBTaskResult)
class JobAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["task_path", "status", "attempts", "exception_class_path", "due"]
    list_filter = ["status", "task_path"]
    ordering = ["-enqueued_at"]
    actions = ["run_now"]
    # Not the arguments: a mail may have a link that logs its reader in.
    fields = readonly_fields = ("task_path", "status", "attempts", "enqueued_at", "due", "worker_ids", "traceback")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # For the action. The page of a job has nothing to save.
        return obj is None and super().has_change_permission(request)

    @admin.display
    def attempts(self, job: DBTaskResult[..., Any]) -> int:
        return len(job.worker_ids)

    @admin.display(ordering="run_after")
    def due(self, job: DBTaskResult[..., Any]) -> str:
        # The library writes the year 9999 for "at once".
        return str(localize(job.run_after if job.run_after.year < 9999 else job.enqueued_at))

    @admin.action(description="Run now", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: Any) -> None:
        """Retry jobs that failed or wait for another attempt."""
        waiting = queryset.exclude(status=TaskResultStatus.RUNNING)
        changes = {"run_after": timezone.now(), "worker_ids": [], "finished_at": None}
        count = waiting.update(status=TaskResultStatus.READY, **changes)
        self.message_user(request, f"Will run: {count}.")
