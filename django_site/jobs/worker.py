"""The worker: takes jobs from the database and runs them, one at a time.

A job runs at least once. A worker claims its row, and deletes the row when the job is done. If the worker ends in
between, the claim expires and the job runs again.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from traceback import format_exception
from typing import Any, cast

from config import metrics, traces
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connections
from django.db.models import Count, Min, Q
from django.utils import timezone
from django_tasks.base import TaskContext, TaskResultStatus
from django_tasks_db.models import DBTaskResult

from .periodic import PERIODIC, add_missing

logger = logging.getLogger(__name__)

# Seconds that a job may run. A stopping worker finishes its job within the 30 s that every target gives it.
LIMIT = 20
# Then a claim expires: its worker has ended.
LEASE = timedelta(seconds=30)
# Seconds between two looks for a job while there is none, and between two looks for expired claims.
POLL, UPKEEP = 1, 5
# The first attempt is repeated after 10 s, and each later one after twice as long, up to an hour: a day of attempts.
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=10), timedelta(hours=1)
ATTEMPTS = 33

JOBS = metrics.gauge("jobs", "Jobs in the database", "status")
OLDEST = metrics.gauge("jobs_oldest_due_seconds", "How late the first job is")
RUNS = metrics.histogram("job_duration_seconds", "Attempts", "job", "result")


class Rejected(Exception):
    """A job raises this if no other attempt can succeed. It fails at once."""


class WorkerEnded(Exception):
    """The worker of this job was killed, or its host failed."""


class OutOfTime(BaseException):
    """Not an Exception: a job must not handle it."""


class Worker:
    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{settings.INSTANCE or os.getpid()}"
        self.stopping = False

    def stop(self, *_: Any) -> None:
        self.stopping = True

    def work(self) -> None:
        """Run jobs until SIGTERM or SIGINT. It finishes a job that it has begun."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        looked = float("-inf")
        while not self.stopping:
            try:
                close_old_connections()
                if time.monotonic() > looked + UPKEEP:
                    add_missing()
                    release_expired()
                    show_queue()
                    looked = time.monotonic()
                if job := self.claim():
                    run(job)
                    continue
            except (OperationalError, InterfaceError) as error:
                logger.warning("database: %s", " ".join(str(error).split()))
            time.sleep(POLL)

    def claim(self) -> DBTaskResult[..., Any] | None:
        """Return a job that is due and now belongs to this worker; None if there is none."""
        while job := DBTaskResult.objects.ready().first():
            # Of several workers that found the same row, the first one changes it.
            job.started_at, job.worker_ids = timezone.now(), [*job.worker_ids, self.name]
            if DBTaskResult.objects.filter(pk=job.pk, status=TaskResultStatus.READY).update(
                status=TaskResultStatus.RUNNING, started_at=job.started_at, worker_ids=job.worker_ids
            ):
                return job
        return None


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def end(*_: Any) -> None:
        raise OutOfTime(f"the job took longer than {seconds} s")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def run(job: DBTaskResult[..., Any]) -> None:
    began = time.monotonic()
    try:
        with limited(LIMIT):
            task, given, result = job.task, job.args_kwargs, cast(Any, job.task_result)
            context = [TaskContext(task_result=result)] if task.takes_context else []
            with (
                traces.resume(given.get("traceparent", "")),
                traces.span("CONSUMER", job.task_path, {"attempt": len(job.worker_ids)}, begin=True),
            ):
                task.call(*context, *given["args"], **given["kwargs"])
    except (Exception, SystemExit, OutOfTime) as error:
        if isinstance(error, OutOfTime):
            # It may have ended in the middle of a query.
            connections.close_all()
        fail(job, error)
        metrics.mine(RUNS, job.task_path, "failed").observe(time.monotonic() - began)
    else:
        finish(job)
        metrics.mine(RUNS, job.task_path, "done").observe(time.monotonic() - began)
        fields = {"job": job.task_path, "id": str(job.pk), "duration_ms": round((time.monotonic() - began) * 1000, 1)}
        logger.info("%(job)s done", fields, extra=fields)


def claimed(job: DBTaskResult[..., Any]) -> Any:
    """Return the row of a job, if it still belongs to the worker that claimed it."""
    return DBTaskResult.objects.filter(pk=job.pk, status=TaskResultStatus.RUNNING, started_at=job.started_at)


def finish(job: DBTaskResult[..., Any]) -> None:
    """Delete a job: its arguments may be a mail with a secret link. A periodic one waits for its next run."""
    if job.pk in PERIODIC:
        again = timezone.now() + PERIODIC[job.pk][1]
        claimed(job).update(status=TaskResultStatus.READY, run_after=again, worker_ids=[], traceback="")
    else:
        claimed(job).delete()


def fail(job: DBTaskResult[..., Any], error: BaseException) -> None:
    """Let a job run again later, unless no attempt is left or would help. A periodic one always runs again."""
    attempt, now = len(job.worker_ids), timezone.now()
    changes = {
        "traceback": "".join(format_exception(error)).replace("\0", ""),
        "exception_class_path": f"{type(error).__module__}.{type(error).__qualname__}",
    }
    if job.pk in PERIODIC or not (isinstance(error, Rejected) or attempt >= ATTEMPTS):
        delay = min(FIRST_DELAY * 2 ** min(attempt - 1, 10), LONGEST_DELAY)
        changed = claimed(job).update(status=TaskResultStatus.READY, run_after=now + delay, **changes)
        level, what = logging.WARNING, f"again in {delay.total_seconds():.0f} s"
    else:
        changed = claimed(job).update(status=TaskResultStatus.FAILED, finished_at=now, **changes)
        level, what = logging.ERROR, "failed: see Jobs in the admin"
    if changed:
        fields = {"job": job.task_path, "id": str(job.pk), "attempt": attempt, "what": what}
        logger.log(level, "%(job)s: attempt %(attempt)s: %(what)s", fields, extra=fields, exc_info=error)


def release_expired() -> None:
    """Let the jobs of workers that ended run again."""
    expired = DBTaskResult.objects.filter(status=TaskResultStatus.RUNNING, started_at__lt=timezone.now() - LEASE)
    for job in expired:
        fail(job, WorkerEnded(f"{job.worker_ids[-1]} ended before the job did"))


def show_queue() -> None:
    """Show what is in the database. Each worker shows the same."""
    metrics.show_worker()
    counts = dict(DBTaskResult.objects.values_list("status").annotate(n=Count("*")))
    for status in (TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.FAILED):
        metrics.mine(JOBS, status.lower()).set(counts.get(status, 0))
    # The library writes the year 9999 for "at once".
    at_once = Q(run_after__year=9999)
    found = DBTaskResult.objects.ready().aggregate(
        queued=Min("enqueued_at", filter=at_once), due=Min("run_after", filter=~at_once)
    )
    now = timezone.now()
    metrics.mine(OLDEST).set(max((now - due).total_seconds() for due in (now, *found.values()) if due))
