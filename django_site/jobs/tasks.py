"""The site's own jobs. Every app may have such a file."""

from datetime import timedelta

from django.core.management import call_command
from django_tasks import task

from . import mail as mail
from .periodic import every


@every(timedelta(days=1))
@task
def delete_expired_sessions() -> None:
    call_command("clearsessions")
