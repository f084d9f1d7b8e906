"""Jobs: enqueued with their data, run at least once, retried, listed."""

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from accounts.models import User
from config import metrics
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_tasks import TaskContext, task
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult
from jobs import periodic, worker
from jobs.worker import ATTEMPTS, JOBS, LEASE, OLDEST, Rejected, Worker, fail, release_expired, run, show_queue

did: list[Any] = []
READY, RUNNING, FAILED = TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.FAILED


@task
def note(what: Any) -> None:
    did.append(what)


@task(priority=10)
def note_first(what: Any) -> None:
    did.append(what)


@task
def break_down() -> None:
    raise ValueError("broken")


@task
def reject() -> None:
    raise Rejected("no use")


@task
def leave() -> None:
    raise SystemExit(3)


@task
def hang() -> None:
    try:
        time.sleep(30)
    except Exception:
        did.append("handled")


@task(takes_context=True)
def count(context: TaskContext) -> None:
    did.append(context.attempt)


@pytest.fixture(autouse=True)
def nothing_done(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    did.clear()
    monkeypatch.setattr(periodic, "PERIODIC", {})
    monkeypatch.setattr(worker, "PERIODIC", periodic.PERIODIC)


@pytest.fixture
def work() -> Callable[[], int]:
    """Run the jobs that are due. Returns how many there were."""

    def until_idle() -> int:
        me, count = Worker(), 0
        while job := me.claim():
            run(job)
            count += 1
        return count

    return until_idle


def due(job: DBTaskResult[..., Any]) -> float:
    """Return in how many seconds a job is due."""
    return float((job.run_after - timezone.now()).total_seconds())


def figure(metric: Any, *labels: str) -> float:
    [sample] = next(iter(metrics.mine(metric, *labels).collect())).samples
    return float(sample.value)


def test_a_job_is_done_once_and_leaves_no_row(work: Callable[[], int]) -> None:
    note.enqueue({"a": 1})
    assert (work(), work(), did) == (1, 0, [{"a": 1}])
    assert not DBTaskResult.objects.exists()


def test_a_rollback_enqueues_nothing(work: Callable[[], int]) -> None:
    with transaction.atomic():
        note.enqueue(1)
        transaction.set_rollback(True)
    assert work() == 0


def test_jobs_wait_for_their_time_and_go_by_priority(work: Callable[[], int]) -> None:
    note.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
    note.using(run_after=timezone.now()).enqueue("now")
    note_first.enqueue("first")
    assert (work(), did) == (2, ["first", "now"])


def test_a_job_that_fails_runs_again_after_growing_delays(work: Callable[[], int]) -> None:
    break_down.enqueue()
    delays = []
    for _ in range(ATTEMPTS - 1):
        assert work() == 1
        job = DBTaskResult.objects.get()
        assert (job.status, job.exception_class_path) == (READY, "builtins.ValueError")
        delays.append(due(job))
        DBTaskResult.objects.update(run_after=timezone.now())
    assert [round(delay / 10) for delay in delays[:4]] == [1, 2, 4, 8]
    assert max(delays) <= 3600
    assert 24 * 3600 < sum(delays) < 26 * 3600
    work()
    job = DBTaskResult.objects.get()
    assert (job.status, work()) == (FAILED, 0)
    assert "ValueError: broken" in job.traceback


@pytest.mark.parametrize(("job", "error"), [(leave, "SystemExit"), (reject, "Rejected")])
def test_no_error_ends_the_worker(work: Callable[[], int], job: Any, error: str) -> None:
    job.enqueue()
    note.enqueue("after")
    assert (work(), did) == (2, ["after"])
    assert error in DBTaskResult.objects.get().traceback


def test_a_rejected_job_has_no_second_attempt(work: Callable[[], int], caplog: pytest.LogCaptureFixture) -> None:
    reject.enqueue()
    work()
    assert DBTaskResult.objects.get().status == FAILED
    assert caplog.records[-1].levelname == "ERROR"  # so that it is reported


def test_a_job_of_another_release_waits_for_it(work: Callable[[], int]) -> None:
    note.enqueue(1)
    DBTaskResult.objects.update(task_path="jobs.of_the_next_release.note")
    assert work() == 1
    assert DBTaskResult.objects.get().status == READY


@pytest.mark.slow
def test_a_job_has_a_time_limit(work: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LIMIT", 1)
    # The test's transaction needs the connection.
    monkeypatch.setattr("django.db.connections.close_all", lambda: did.append("closed"))
    hang.enqueue()
    assert (work(), did) == (1, ["closed"])
    assert "the job took longer than 1 s" in DBTaskResult.objects.get().traceback


def test_the_metrics_of_the_queue(work: Callable[[], int]) -> None:
    note.enqueue(1)
    show_queue()
    assert figure(OLDEST) < 60
    note.using(run_after=timezone.now() - timedelta(hours=1)).enqueue("late")
    note.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
    reject.enqueue()
    show_queue()
    assert 3600 <= figure(OLDEST) < 3660
    assert (figure(JOBS, "ready"), figure(JOBS, "failed")) == (4, 0)
    work()
    show_queue()
    assert (figure(JOBS, "ready"), figure(JOBS, "failed"), figure(OLDEST)) == (1, 1, 0)


def test_a_job_knows_its_attempt(work: Callable[[], int]) -> None:
    count.enqueue()
    assert (work(), did) == (1, [1])


def test_the_job_of_a_killed_worker_runs_again(work: Callable[[], int]) -> None:
    note.enqueue(1)
    job = Worker().claim()
    assert job
    release_expired()
    assert DBTaskResult.objects.get().status == RUNNING
    DBTaskResult.objects.update(started_at=timezone.now() - LEASE - timedelta(seconds=1))
    release_expired()
    found = DBTaskResult.objects.get()
    assert (found.status, found.exception_class_path) == (READY, "jobs.worker.WorkerEnded")
    assert 5 < due(found) < 15
    DBTaskResult.objects.update(run_after=timezone.now())
    assert (work(), did) == (1, [1])


def test_a_worker_that_lost_its_claim_changes_nothing() -> None:
    """Its job ran for longer than the lease, for example while the machine was suspended."""
    note.enqueue(1)
    late = Worker().claim()
    assert late
    DBTaskResult.objects.update(status=READY)
    newer = Worker().claim()
    assert newer
    fail(late, ValueError())
    worker.finish(late)
    assert DBTaskResult.objects.get().status == RUNNING
    worker.finish(newer)
    assert not DBTaskResult.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_each_job_is_claimed_by_one_of_many_workers() -> None:
    for number in range(40):
        note.enqueue(number)

    def work() -> None:
        try:
            while job := Worker().claim():
                job.task.call(*job.args_kwargs["args"])
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(did) == list(range(40))


@pytest.fixture
def hourly(nothing_done: None) -> None:
    periodic.every(timedelta(hours=1))(tick)


@task
def tick() -> None:
    did.append("tick")
    if len(did) == 2:
        raise Rejected


def test_a_periodic_job_has_one_row_and_runs_again(work: Callable[[], int], hourly: None) -> None:
    for _ in range(3):
        # As another process does.
        periodic.PERIODIC.clear()
        periodic.every(timedelta(hours=1))(tick)
        periodic.add_missing()
    assert (work(), work(), did) == (1, 0, ["tick"])
    assert 3590 < due(DBTaskResult.objects.get()) <= 3600


def test_a_periodic_job_that_fails_stays(work: Callable[[], int], hourly: None) -> None:
    did.append("before")
    periodic.add_missing()
    work()
    failed = DBTaskResult.objects.get()
    assert (failed.status, "Rejected" in failed.traceback) == (READY, True)
    DBTaskResult.objects.update(run_after=timezone.now())
    work()
    assert DBTaskResult.objects.get().traceback == ""


def test_the_site_deletes_expired_sessions(client: Client, work: Callable[[], int]) -> None:
    from django.contrib.sessions.models import Session
    from jobs.tasks import delete_expired_sessions

    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))
    Session.objects.create(session_key="new", session_data="", expire_date=timezone.now() + timedelta(days=1))
    delete_expired_sessions.enqueue()
    assert work() == 1
    assert [session.session_key for session in Session.objects.all()] == ["new"]


@task
def stop_worker() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    did.append("finished")


def test_a_stopping_worker_finishes_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's transaction needs the connection.
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    stop_worker.enqueue()
    note.enqueue("more")
    try:
        call_command("run_jobs")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert did == ["finished"]
    assert DBTaskResult.objects.get().status == READY


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_the_admin_lists_failed_jobs_and_retries_them(staff: Client, work: Callable[[], int]) -> None:
    reject.enqueue()
    note.enqueue("a secret")
    work()
    note.enqueue("a secret")
    changelist = "/admin/django_tasks_database/dbtaskresult/"
    failed = DBTaskResult.objects.get(status=FAILED)
    waiting = DBTaskResult.objects.get(status=READY)
    page = staff.get(f"{changelist}?status__exact=FAILED").content.decode()
    assert (f"{failed.pk}/change/" in page, f"{waiting.pk}/change/" in page) == (True, False)
    for job in DBTaskResult.objects.all():
        assert "a secret" not in staff.get(f"{changelist}{job.pk}/change/").content.decode()
    assert "no use" in staff.get(f"{changelist}{failed.pk}/change/").content.decode()
    staff.post(changelist, {"action": "run_now", "_selected_action": [str(failed.pk)]})
    failed.refresh_from_db()
    assert (failed.status, failed.worker_ids) == (READY, [])
    assert work() == 2
