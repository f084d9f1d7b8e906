"""Mail: Django's EMAIL_BACKEND makes jobs of a message, and a worker sends them to the server of EMAIL_URL."""

import smtplib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import MIMEMixin
from django.db import transaction
from django_tasks import task

from .settings import BACKENDS, MAIL_SERVER
from .worker import Rejected


class EmailBackend(BaseEmailBackend):
    """Enqueues messages in the caller's transaction: if that is rolled back, nothing is sent.

    Each recipient has a job of their own. If the server takes a message for one and not for another, only the other's
    is sent again.
    """

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        with transaction.atomic():
            for message in email_messages:
                content = b64encode(message.message().as_bytes()).decode()
                for recipient in dict.fromkeys(message.recipients()):
                    send.enqueue(message.from_email, recipient, content)
        return len(email_messages)


class Parsed(MIMEMixin, Message):  # type: ignore[misc]
    """Django's backends write a message with its own as_bytes()."""


class Written(EmailMessage):
    """A message as it was enqueued. Its Message-ID stays the same, so a recipient's server can drop a duplicate."""

    def __init__(self, sender: str, recipient: str, content: str) -> None:
        super().__init__(from_email=sender, to=[recipient])
        self.content = content

    def message(self, *, policy: Any = None) -> Any:
        return message_from_bytes(b64decode(self.content), _class=Parsed)


# Slow mail must not delay other jobs.
@task(priority=-10)
def send(sender: str, recipient: str, content: str) -> None:
    """Send a message to one recipient. Raises Rejected if the server rejects it for good (5xx)."""
    server = MAIL_SERVER or ({"backend": f"{BACKENDS}.console.EmailBackend"} if settings.DEBUG else {})
    if not server:
        raise RuntimeError("EMAIL_URL is not set, so the mail waits")
    try:
        get_connection(**server).send_messages([Written(sender, recipient, content)])
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        reject_permanent(error.smtp_code, error)
        raise
    except smtplib.SMTPRecipientsRefused as error:
        [(code, _)] = error.recipients.values()
        reject_permanent(code, error)
        raise


def reject_permanent(code: int, error: smtplib.SMTPException) -> None:
    """Raises Rejected for 5xx: the server would give the same answer again (RFC 5321, 4.2.1)."""
    if code >= 500:
        raise Rejected(f"the mail server rejected the message: {error}") from error
