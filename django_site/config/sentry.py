"""Reports errors of the log to Sentry, or to a server with its API.

Each app has a copy of this file, because apps import nothing from each other.
"""

import logging
import time

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.transport import HttpTransport
from sentry_sdk.types import Event, Hint

logger = logging.getLogger(__name__)
# Seconds between two lines of a process about reports that could not be sent.
PAUSE = 60


class Transport(HttpTransport):
    """Sends from a thread of its own, and says in the log if that fails."""

    next_at = float("-inf")

    def on_dropped_event(self, reason: str) -> None:
        if time.monotonic() >= self.next_at:
            self.next_at = time.monotonic() + PAUSE
            logger.warning("an error was not reported to Sentry: %s", reason)


def clean(event: Event, hint: Hint) -> Event:
    """Leave out what people may have sent: the values in the line of the log, and what the database says in detail."""
    event["tags"] = {"request_id": str(event.pop("extra", {}).get("request_id"))}
    event["logentry"] = {"message": event["logentry"]["message"]}
    for each in event.get("exception", {}).get("values", []):
        each["value"] = str(each["value"]).partition("\n")[0]
    return event


def report_to(dsn: str, instance: str, release: str | None) -> None:
    """Report to the server of a DSN. Without a release, the name is the commit, if this is a git repository."""
    # urllib3 would log each attempt to send.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    sentry_sdk.init(
        dsn,
        server_name=instance,
        release=release,
        before_send=clean,
        transport=Transport,
        include_local_variables=False,
        # No framework's: they would add the request.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],
    )
