"""Read rows that no form let in, from an old dump or written by hand: one of them must not take a list down with it.

Without this, a time that Python does not have, or text that is not UTF-8, fails every query that finds its row.
"""

from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg import DataError
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader

# Replaces a time that cannot be read. A question with this closing time is closed.
UNREADABLE = datetime(1970, 1, 1, tzinfo=UTC)


class Loader(TimestampLoader):
    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except DataError:
            return UNREADABLE.replace(tzinfo=None)


class LoaderWithZone(TimestamptzLoader):
    timezone = UTC  # Django replaces a loader that has another one

    def load(self, data: Any) -> datetime:
        try:
            return super().load(data).astimezone(UTC)
        except (DataError, OverflowError):
            return UNREADABLE


@receiver(connection_created)
def read_any_row(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    driver: Any = connection.connection
    if connection.vendor == "postgresql":
        driver.adapters.register_loader("timestamp", Loader)
        driver.adapters.register_loader("timestamptz", LoaderWithZone)
    else:
        driver.text_factory = lambda text: text.decode(errors="replace")
        operations: Any = connection.ops
        read = type(operations).convert_datetimefield_value.__get__(operations)

        def convert(value: Any, *rest: Any) -> Any:
            try:
                return read(value, *rest)
            except Exception:  # SQLite has text, numbers and bytes in such a column
                return UNREADABLE

        operations.convert_datetimefield_value = convert
