"""Actions that compete for the database at the same moment."""

import threading
from collections.abc import Callable

from django.db import connection


def at_once(*actions: Callable[[], None]) -> list[str]:
    """Run each on a thread and a connection of its own, from the same moment. Return the exceptions' names, sorted."""
    barrier, outcomes = threading.Barrier(len(actions)), []

    def run(action: Callable[[], None]) -> None:
        try:
            with connection.cursor():  # connected before the start
                barrier.wait(timeout=10)
            action()
            outcomes.append("")
        except Exception as error:
            outcomes.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return sorted(outcomes)
