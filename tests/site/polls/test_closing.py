"""A job closes a question: at its closing time, its version grows, and so its watchers get the last tally."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from polls.models import Question
from polls.tasks import close


def version(question: Question) -> int:
    return Question.objects.values_list("version", flat=True).get(pk=question.pk)


def test_a_question_has_a_job_for_its_closing_time(new_question: Callable[..., Question]) -> None:
    closes_at = timezone.now() + timedelta(hours=1)
    question = new_question(closes_at=closes_at)
    job = DBTaskResult.objects.get(task_path="polls.tasks.close")
    assert (job.args_kwargs["args"], job.run_after) == ([question.pk], closes_at)


@pytest.mark.parametrize("closes_at", [None, timezone.now() - timedelta(hours=1)])
def test_others_have_none(new_question: Callable[..., Question], closes_at: object) -> None:
    new_question(closes_at=closes_at)
    assert not DBTaskResult.objects.exists()


def test_a_question_that_is_not_saved_has_none(new_question: Callable[..., Question]) -> None:
    with transaction.atomic():
        new_question(closes_at=timezone.now() + timedelta(hours=1))
        transaction.set_rollback(True)
    assert not DBTaskResult.objects.exists()


def test_closing_tells_the_watchers(new_question: Callable[..., Question]) -> None:
    question = new_question(closes_at=timezone.now())
    before = version(question)
    close.func(question.pk)
    assert version(question) == before + 1


def test_a_question_that_closes_later_stays_open(new_question: Callable[..., Question]) -> None:
    question = new_question(closes_at=timezone.now() + timedelta(hours=1))
    before = version(question)
    close.func(question.pk)
    close.func(question.pk + 1)
    assert version(question) == before
