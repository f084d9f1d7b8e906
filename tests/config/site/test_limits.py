"""The site's limits fit those of nginx and of a lost host."""

import os
import subprocess
import sys

import pytest
from config import middleware
from jobs import worker

from deploy.core.settings import PROJECT
from tests.config.files import seconds_until_noticed, supervisor


def test_a_request_from_a_lost_host_still_gets_its_turn() -> None:
    """A request to a lost host waited until the loss was detected."""
    assert seconds_until_noticed() < middleware.LONGEST_WAIT


@pytest.mark.slow
@pytest.mark.parametrize("limit", [6, 20])
def test_the_site_takes_requests_up_to_the_upload_limit(limit: int) -> None:
    print_limits = "from django.conf import settings; print(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)"
    done = subprocess.run(
        [sys.executable, "-c", print_limits],
        cwd=PROJECT / "django_site",
        env=os.environ | {"UPLOAD_LIMIT_MB": str(limit)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == limit * 1024 * 1024


def test_a_stopping_worker_finishes_its_job() -> None:
    """supervisord waits for longer than a job may take, and no claim expires while its job runs."""
    assert worker.LIMIT < supervisor("command", "stopwaitsecs") <= worker.LEASE.total_seconds()
