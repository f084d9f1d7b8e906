import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from accounts.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone
from polls.models import AlreadyVoted, Choice, Closed, Question, Vote

from tests.site.threads import at_once


def version(question: Question) -> int:
    return Question.objects.values_list("version", flat=True).get(pk=question.pk)


def test_a_vote_counts_and_leads_back(member: Client, user: User, question: Question) -> None:
    tea, before = question.choices.get(text="Tea"), version(question)
    response = member.post(f"/questions/{question.pk}/vote/", {"choice": tea.pk})
    assert response.status_code == 302
    assert response.headers["Location"] == f"/questions/{question.pk}/"
    assert list(Vote.objects.values_list("choice", "voter")) == [(tea.pk, user.pk)]
    assert version(question) == before + 1


def test_a_second_vote_is_refused_and_the_first_stands(member: Client, question: Question) -> None:
    tea, coffee = question.choices.all()
    member.post(f"/questions/{question.pk}/vote/", {"choice": tea.pk})
    before = version(question)
    response = member.post(f"/questions/{question.pk}/vote/", {"choice": coffee.pk})
    assert response.status_code == 409
    assert "Your first vote stands" in response.content.decode()
    assert Vote.objects.get().choice == tea
    assert version(question) == before


def test_a_closed_question_is_gone(member: Client, question: Question) -> None:
    Question.objects.change([question.pk], closes_at=timezone.now() - timedelta(seconds=1))
    response = member.post(f"/questions/{question.pk}/vote/", {"choice": question.choices.all()[0].pk})
    assert response.status_code == 410
    assert "has closed" in response.content.decode()
    assert not Vote.objects.exists()


@pytest.mark.parametrize("choice", ["99999", str(2**80), "-1"])
def test_an_unknown_choice_is_a_404(member: Client, question: Question, choice: str) -> None:
    assert member.post(f"/questions/{question.pk}/vote/", {"choice": choice}).status_code == 404


def test_a_choice_of_another_question_is_a_404(member: Client, new_question: Callable[..., Question]) -> None:
    question, other = new_question(), new_question()
    response = member.post(f"/questions/{question.pk}/vote/", {"choice": other.choices.all()[0].pk})
    assert response.status_code == 404
    assert not Vote.objects.exists()


def test_an_unknown_question_is_a_404(member: Client) -> None:
    assert member.post("/questions/99999/vote/", {"choice": 1}).status_code == 404


@pytest.mark.parametrize("form", [{}, {"choice": ""}, {"choice": "tea"}])
def test_no_choice_is_a_400_that_says_so(member: Client, question: Question, form: dict[str, str]) -> None:
    response = member.post(f"/questions/{question.pk}/vote/", form)
    assert response.status_code == 400
    assert "Choose one." in response.content.decode()


def test_voting_needs_a_login_and_leads_back_to_the_question(client: Client, question: Question) -> None:
    response = client.post(f"/questions/{question.pk}/vote/", {"choice": question.choices.all()[0].pk})
    assert response.status_code == 302
    assert response.headers["Location"] == f"/accounts/login/?next=/questions/{question.pk}/"


def test_each_page_has_a_key_of_its_own(member: Client, question: Question) -> None:
    pages = [member.get(f"/questions/{question.pk}/").content.decode() for _ in range(2)]
    keys = [page.partition('name="key" value="')[2].partition('"')[0] for page in pages]
    assert [len(key) for key in keys] == [32, 32]
    assert keys[0] != keys[1]


def test_a_repeated_vote_gets_the_first_response(member: Client, question: Question) -> None:
    tea, coffee = question.choices.all()
    path, before = f"/questions/{question.pk}/vote/", version(question)

    def statuses(*forms: dict[str, object]) -> list[int]:
        return [member.post(path, form).status_code for form in forms]

    vote = {"choice": tea.pk, "key": "1"}
    others: list[dict[str, object]] = [vote | {"choice": coffee.pk}, vote | {"key": "2"}, {"choice": tea.pk}]
    assert statuses(vote, vote, *others) == [302, 302, 409, 409, 409]
    assert version(question) == before + 1
    Question.objects.change([question.pk], closes_at=timezone.now() - timedelta(seconds=1))
    assert statuses(vote, *others) == [302, 409, 409, 409]
    assert list(Vote.objects.values_list("choice", "key")) == [(tea.pk, "1")]
    tea.delete()
    assert statuses(vote) == [404]
    assert statuses({"choice": coffee.pk, "key": "1"}) == [410]


def test_the_key_is_the_voters_own(member: Client, question: Question) -> None:
    tea = question.choices.get(text="Tea")
    for key in ("1", "2"):
        Vote.cast(question.pk, tea.pk, User.objects.create(username=key).pk, key)
    statuses = [
        member.post(f"/questions/{question.pk}/vote/", {"choice": tea.pk, "key": key}).status_code for key in ("1", "2")
    ]
    assert statuses == [302, 409]
    assert Vote.objects.count() == 3


def test_too_long_a_key_is_a_400(member: Client, question: Question) -> None:
    form = {"choice": question.choices.all()[0].pk, "key": "x" * 65}
    assert member.post(f"/questions/{question.pk}/vote/", form).status_code == 400
    assert not Vote.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_votes_of_one_voter_at_once_one_counts(user: User, question: Question) -> None:
    before = version(question)
    choices = list(question.choices.all()) * 4
    outcomes = at_once(*[lambda choice=choice: Vote.cast(question.pk, choice.pk, user.pk) for choice in choices])
    assert outcomes == [""] + [AlreadyVoted.__name__] * 7
    assert Vote.objects.count() == 1
    assert version(question) == before + 1


@pytest.mark.django_db(transaction=True)
def test_of_one_vote_sent_many_times_at_once_all_succeed_and_one_counts(user: User, question: Question) -> None:
    before, choice = version(question), question.choices.all()[0]
    assert at_once(*[lambda: Vote.cast(question.pk, choice.pk, user.pk, "key")] * 8) == [""] * 8
    assert Vote.objects.count() == 1
    assert version(question) == before + 1


@pytest.mark.django_db(transaction=True)
def test_votes_of_many_voters_at_once_all_count(question: Question) -> None:
    before, choice = version(question), question.choices.all()[0]
    voters = [User.objects.create(username=f"voter {number}") for number in range(8)]
    outcomes = at_once(*[lambda voter=voter: Vote.cast(question.pk, choice.pk, voter.pk) for voter in voters])
    assert outcomes == [""] * 8
    assert [choice.votes for choice in question.tally()] == [8, 0]
    assert version(question) == before + 8


@pytest.mark.django_db(transaction=True)
def test_a_question_that_is_being_deleted_takes_no_votes_and_breaks_nothing(user: User, question: Question) -> None:
    choice, number, deleted = question.choices.all()[0], question.pk, threading.Event()

    def delete() -> None:
        with transaction.atomic():
            question.delete()
            deleted.set()
            time.sleep(0.5)  # PostgreSQL's voter still sees the question, and waits at its row; SQLite's waits before

    def vote() -> None:
        deleted.wait(timeout=10)
        Vote.cast(number, choice.pk, user.pk)

    assert at_once(delete, vote) == ["", "DoesNotExist"]
    assert not Vote.objects.exists()


def test_saving_an_old_copy_does_not_lower_the_version(user: User, question: Question) -> None:
    old = Question.objects.get(pk=question.pk)
    Vote.cast(question.pk, question.choices.all()[0].pk, user.pk)
    before = version(question)
    old.text = "Coffee or tea?"
    old.save()
    assert version(question) > before


CHANGES: dict[str, Callable[[Question], object]] = {
    "question saved": lambda question: question.save(),
    "closed": lambda question: Question.objects.change([question.pk], closes_at=timezone.now()),
    "choice added": lambda question: question.choices.create(text="Water"),
    "choice saved": lambda question: question.choices.get(text="Tea").save(),
    "choice deleted": lambda question: question.choices.get(text="Tea").delete(),
    "choices deleted": lambda question: question.choices.all().delete(),
    "voter deleted": lambda question: User.objects.get(vote__question=question).delete(),
    "voters deleted": lambda question: User.objects.filter(vote__question=question).delete(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_raises_the_version(user: User, question: Question, change: str) -> None:
    Vote.cast(question.pk, question.choices.get(text="Coffee").pk, user.pk)
    before = version(question)
    CHANGES[change](question)
    assert version(question) > before


def test_a_rolled_back_change_keeps_the_version(user: User, question: Question) -> None:
    before = version(question)
    with pytest.raises(Choice.DoesNotExist):
        Vote.cast(question.pk, 99999, user.pk)
    Question.objects.change([question.pk], closes_at=timezone.now())
    with pytest.raises(Closed):
        Vote.cast(question.pk, question.choices.all()[0].pk, user.pk)
    assert version(question) == before + 1
