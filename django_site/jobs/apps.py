from typing import Any

from config import traces
from django.apps import AppConfig
from django.db.models.signals import pre_save
from django.utils.module_loading import autodiscover_modules


def remember_trace(instance: Any, **kwargs: Any) -> None:
    """Continue the trace of the request or job that enqueues a new one (worker.py)."""
    if instance._state.adding and (trace := traces.carry()):
        instance.args_kwargs["traceparent"] = trace


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self) -> None:
        # A worker has to know the periodic jobs of every app.
        autodiscover_modules("tasks")
        pre_save.connect(remember_trace, sender="django_tasks_database.DBTaskResult")
