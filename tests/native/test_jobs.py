"""Each job runs at least once, and each committed mail is sent, while workers are killed and rolled."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests import servers
from tests.chaos.table import Record
from tests.site.jobs.smtp import Server, smtp_server
from tests.stacks import NativeStack, running

MAILS = 100
ENQUEUE = f"""
from django.core.mail import send_mail
from django.db import transaction
for number in range({MAILS}):
    for subject in (f"mail {{number}}", "rolled back"):
        with transaction.atomic():
            send_mail(subject, "", None, ["mel@example.org"])
            transaction.set_rollback(subject == "rolled back")
"""
COUNT = """
from django_tasks_db.models import DBTaskResult
print("left:", DBTaskResult.objects.filter(task_path="jobs.mail.send").count())
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with smtp_server() as server:
        # So that a killed worker has begun a job.
        server.seconds = 0.1
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, server: Server) -> Iterator[NativeStack]:
    with ExitStack() as own:
        variables = {"EMAIL_URL": server.url}
        if request.param == "postgresql":
            variables["DATABASE_URL"] = own.enter_context(servers.postgresql())
        yield own.enter_context(running(NativeStack, variables))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_mail_is_lost(stack: NativeStack, server: Server, record: Record) -> None:
    workers = stack.instances_of("jobs")
    stack.manage("shell", "-c", ENQUEUE)
    for worker in workers * 2:
        before, pid = len(server.received), stack.pids()[worker]
        wait_until(lambda before=before: len(server.received) > before)  # type: ignore[misc]
        stack.kill(worker)
        wait_until(lambda worker=worker, pid=pid: stack.pids()[worker] not in (0, pid))  # type: ignore[misc]
    done = stack.make("restart", APP="jobs")
    assert done.returncode == 0, done.stdout
    if "DATABASE_URL" in stack.environment:
        with stack.outage("database", "stopped"):
            time.sleep(2)
    expected = {f"mail {number}" for number in range(MAILS)}
    wait_until(lambda: expected <= {message["Subject"] for _, message in server.received})
    wait_until(lambda: "left: 0" in stack.manage("shell", "-c", COUNT))
    counts = Counter(message["Subject"] for _, message in server.received)
    twice = sum(count - 1 for count in counts.values())
    record(
        "jobs: kill -9 of workers 4 ×, and a roll",
        MAILS,
        len(expected - counts.keys()),
        twice,
        None,
        "of mails; sent again: twice",
    )
    assert counts.keys() == expected
    # A kill cuts one job off at most.
    assert twice <= 4 + len(workers)
