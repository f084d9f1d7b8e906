"""Django's backend for a cluster of PostgreSQL: DATABASE_URL names several servers."""

import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import OperationalError

# Seconds without a primary that a new connection waits for. A switchover takes two or three.
SWITCHOVER = 5


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        end = time.monotonic() + SWITCHOVER
        while True:
            try:
                return super().get_new_connection(conn_params)
            except OperationalError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)
