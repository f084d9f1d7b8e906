"""Mails errors to ADMINS."""

import logging
import time

from django.core.mail import mail_admins

# Seconds between two mails of a process, so that a fault in every request does not fill the queue.
PAUSE = 60


class AdminEmail(logging.Handler):
    """A handler of the log: mails a line. Those that follow within PAUSE are in the log only."""

    next_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        # A mail that fails must not cause another one.
        if time.monotonic() < self.next_at or getattr(record, "job", "") == "jobs.mail.send":
            return
        self.next_at = time.monotonic() + PAUSE
        try:
            mail_admins(record.getMessage().partition("\n")[0], self.format(record))
        except Exception:
            self.handleError(record)
