"""What is reported when an error is logged: to Sentry, or by mail."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from config.admins import AdminEmail
from django_tasks_db.models import DBTaskResult

from tests import servers
from tests.sentry import receiver
from tests.site.commands import manage

REQUESTS = """
from django.test import Client
client = Client(raise_request_exception=False)
for path in {paths}:
    client.get(path, headers={{"X-Request-ID": "0123abcd", "Cookie": "secret=1", "X-Real-IP": "192.0.2.7"}})
"""


def request(*paths: str, **environment: str) -> list[dict[str, Any]]:
    """Request paths of a site whose pages fail. Return the warnings and errors in its log."""
    command = ["shell", "--verbosity=0", "--command", REQUESTS.format(paths=paths)]
    done = manage(*command, ALLOWED_HOSTS="testserver", INSTANCE="site-b", **environment)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return [line for line in lines if line["level"] != "INFO"]


@pytest.mark.slow
def test_sentry_gets_an_error_without_data_of_people(tmp_path: Path) -> None:
    with receiver() as sentry:
        # There are no static files, whose hashes the page needs.
        lines = request("/accounts/login/?next=/secret/", VAR_DIR=str(tmp_path), SENTRY_DSN=sentry.dsn)
        text, event = sentry.reports.get(timeout=30)
        assert sentry.reports.empty()
    assert "Missing staticfiles manifest entry" in event["exception"]["values"][-1]["value"]
    assert event["tags"] == {"request_id": "0123abcd"}
    assert (event["server_name"], event["level"], event["logger"]) == ("site-b", "error", "django.request")
    assert event["logentry"] == {"message": "%s: %s"}
    for private in ("secret", "accounts/login/?", "192.0.2.7"):
        assert private not in text
    assert [line["logger"] for line in lines] == ["django.request"]
    assert "secret" not in json.dumps(lines)


@pytest.mark.slow
def test_a_sentry_that_refuses_is_one_line_in_the_log(tmp_path: Path) -> None:
    dsn = f"http://key@127.0.0.1:{servers.free_port()}/1"
    lines = request("/accounts/login/", "/accounts/login/", VAR_DIR=str(tmp_path), SENTRY_DSN=dsn)
    assert len([line for line in lines if line["level"] == "ERROR"]) == 2
    [line] = [line for line in lines if line["level"] == "WARNING"]
    assert line["message"] == "an error was not reported to Sentry: network"


def test_admins_get_one_mail_a_minute(db: None, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.EMAIL_BACKEND, settings.ADMINS = "jobs.mail.EmailBackend", [("Ops", "ops@example.org")]
    logger, handler = logging.getLogger("errors"), AdminEmail()
    logger.addHandler(handler)
    try:
        logger.error("mail failed", extra={"job": "jobs.mail.send"})
        assert not DBTaskResult.objects.exists()
        logger.error("a fault\nin two lines")
        logger.error("another fault")
    finally:
        logger.removeHandler(handler)
    [mail] = DBTaskResult.objects.all()
    assert mail.args_kwargs["args"][1] == "ops@example.org"
