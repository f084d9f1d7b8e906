"""Measures each statement, for metrics and traces."""

import time
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from . import metrics, traces


def measure(execute: Callable[..., Any], *arguments: Any) -> Any:
    began = time.perf_counter()
    try:
        with traces.statement(str(arguments[0])):
            return execute(*arguments)
    finally:
        metrics.mine(metrics.QUERIES).observe(time.perf_counter() - began)


@receiver(connection_created)
def measure_statements(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    # A thread connects again and again with the same wrapper.
    if measure not in connection.execute_wrappers:
        connection.execute_wrappers.append(measure)
