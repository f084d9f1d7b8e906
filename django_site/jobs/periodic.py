"""Periodic jobs. Each is one row of the table of jobs, so however many workers there are, one of them runs it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from django.utils import timezone
from django_tasks.base import Task
from django_tasks_db.models import DBTaskResult

# By the id of the row.
PERIODIC: dict[UUID, tuple[Task[..., Any], timedelta]] = {}


def every(interval: timedelta) -> Callable[[Task[[], Any]], Task[[], Any]]:
    """Run a task without arguments again and again, for the first time when a worker starts: a decorator.

    `interval` is the time from the end of one run to the start of the next.
    """

    def register(task: Task[[], Any]) -> Task[[], Any]:
        PERIODIC[uuid5(NAMESPACE_OID, task.module_path)] = task, interval
        return task

    return register


def add_missing() -> None:
    """Add the rows of new periodic jobs. The primary key decides between workers that start at the same time."""
    for id, (task, _) in PERIODIC.items():
        new: dict[str, Any] = {"task_path": task.module_path, "args_kwargs": {"args": [], "kwargs": {}}}
        new |= {"priority": task.priority, "queue_name": task.queue_name, "backend_name": task.backend}
        DBTaskResult.objects.get_or_create(id=id, defaults=new | {"run_after": timezone.now()})
