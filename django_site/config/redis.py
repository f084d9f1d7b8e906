"""The site's way to Redis, which it can do without."""

import time
from typing import Any, ClassVar

from redis import ConnectionError, Redis, TimeoutError

# Seconds. To find out that Redis is gone may take one, for the name of a container that has stopped. A page asks for
# its session, its cache and its bus: with a few visitors, all workers would be waiting for nothing.
AWAY = 5


class Client(Redis):
    """Once it could not be reached, it is not asked again for a while, and says so at once."""

    back: ClassVar[float] = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if time.monotonic() < Client.back:
            raise ConnectionError("could not be reached a moment ago")
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (ConnectionError, TimeoutError):
            Client.back = time.monotonic() + AWAY
            raise
