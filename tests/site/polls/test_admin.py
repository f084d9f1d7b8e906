from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from accounts.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from polls.models import Question, Vote

from tests.site.polls.test_pictures import PNG, no_room


@pytest.fixture
def moderator(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("moderator"))
    return client


@pytest.fixture
def voted(user: User, question: Question) -> Question:
    Vote.cast(question.pk, question.choices.get(text="Tea").pk, user.pk)
    return question


def change(question: Question, **fields: Any) -> dict[str, Any]:
    """The form of a question's change page."""
    form = {"text": question.text, "author": "", "closes_at_0": "", "closes_at_1": ""}
    choices = list(question.choices.all())
    form |= {"choices-TOTAL_FORMS": str(len(choices)), "choices-INITIAL_FORMS": str(len(choices))}
    for number, choice in enumerate(choices):
        values = {"id": choice.pk, "question": question.pk, "text": choice.text, "position": choice.position}
        form |= {f"choices-{number}-{name}": str(value) for name, value in values.items()}
    return form | fields


def version(question: Question) -> int:
    return Question.objects.values_list("version", flat=True).get(pk=question.pk)


@pytest.mark.parametrize(
    "path",
    [
        "polls/question/",
        "polls/question/?state=open",
        "polls/question/?state=closed",
        "polls/question/?q=tea",
        "polls/question/add/",
        "polls/vote/",
        "polls/vote/?q=mel",
    ],
)
def test_the_admin_has_its_pages(moderator: Client, voted: Question, path: str) -> None:
    assert moderator.get(f"/admin/{path}").status_code == 200


def test_the_list_counts_votes(moderator: Client, voted: Question) -> None:
    page = moderator.get("/admin/polls/question/?q=e").content.decode()  # both choices match
    assert '<td class="field-votes">1</td>' in page


def test_a_change_raises_the_version_and_keeps_new_votes(moderator: Client, voted: Question) -> None:
    path = f"/admin/polls/question/{voted.pk}/change/"
    assert moderator.get(path).status_code == 200
    before = version(voted)
    response = moderator.post(path, change(voted, text="Tea, or coffee?"))
    assert response.status_code == 302, response.content.decode()
    voted.refresh_from_db()
    assert voted.text == "Tea, or coffee?"
    assert voted.version > before
    assert Vote.objects.count() == 1


def test_a_question_can_be_added(moderator: Client) -> None:
    form = {"text": "Which?", "choices-TOTAL_FORMS": "2", "choices-INITIAL_FORMS": "0"}
    form |= {"choices-0-text": "one", "choices-0-position": "0", "choices-1-text": "two", "choices-1-position": "1"}
    response = moderator.post("/admin/polls/question/add/", form)
    assert response.status_code == 302, response.content.decode()
    assert [choice.text for choice in Question.objects.get().choices.all()] == ["one", "two"]


def test_a_choice_can_be_removed_but_not_below_two(moderator: Client, voted: Question) -> None:
    path = f"/admin/polls/question/{voted.pk}/change/"
    response = moderator.post(path, change(voted) | {"choices-0-DELETE": "on"})
    assert "at least 2" in response.content.decode()
    voted.choices.create(text="Water", position=2)
    before = version(voted)
    moderator.post(path, change(voted) | {"choices-0-DELETE": "on"})
    assert [choice.text for choice in voted.choices.all()] == ["Coffee", "Water"]
    assert not Vote.objects.exists()
    assert version(voted) > before


def test_close_now(moderator: Client, voted: Question) -> None:
    before = version(voted)
    form = {"action": "close_now", "_selected_action": [voted.pk]}
    response = moderator.post("/admin/polls/question/", form, follow=True)
    assert "Closed: 1." in response.content.decode()
    voted.refresh_from_db()
    assert not voted.is_open
    assert voted.version > before


def test_close_now_leaves_what_has_closed(moderator: Client, voted: Question) -> None:
    closed_at = timezone.now() - timedelta(days=1)
    Question.objects.change([voted.pk], closes_at=closed_at)
    moderator.post("/admin/polls/question/", {"action": "close_now", "_selected_action": [voted.pk]})
    voted.refresh_from_db()
    assert voted.closes_at == closed_at


def test_deleting_questions_says_how_many_votes_go_too(moderator: Client, voted: Question) -> None:
    form = {"action": "delete_selected", "_selected_action": [voted.pk]}
    page = moderator.post("/admin/polls/question/", form).content.decode()
    assert "votes: 1" in page.lower()
    moderator.post("/admin/polls/question/", form | {"post": "yes"})
    assert not Question.objects.exists()
    assert not Vote.objects.exists()


def test_deleting_one_question(moderator: Client, voted: Question) -> None:
    assert moderator.post(f"/admin/polls/question/{voted.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Question.objects.exists()


def test_deleting_a_voter_takes_the_votes_and_raises_the_version(
    moderator: Client, user: User, voted: Question
) -> None:
    before = version(voted)
    path = f"/admin/accounts/user/{user.pk}/delete/"
    assert "Are you sure" in moderator.get(path).content.decode()
    moderator.post(path, {"post": "yes"})
    assert not Vote.objects.exists()
    assert version(voted) > before


def test_votes_can_only_be_looked_at(moderator: Client, voted: Question) -> None:
    vote = Vote.objects.get()
    assert moderator.get("/admin/polls/vote/add/").status_code == 403
    assert moderator.post(f"/admin/polls/vote/{vote.pk}/delete/", {"post": "yes"}).status_code == 403
    page = moderator.get(f"/admin/polls/vote/{vote.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    form = {"action": "delete_selected", "_selected_action": [vote.pk], "post": "yes"}
    moderator.post("/admin/polls/vote/", form)
    assert Vote.objects.exists()


def test_the_admin_checks_a_picture_and_deletes_the_old_one(
    moderator: Client, voted: Question, django_capture_on_commit_callbacks: Any
) -> None:
    path = f"/admin/polls/question/{voted.pk}/change/"
    response = moderator.post(path, change(voted, picture=SimpleUploadedFile("x.png", b"none")))
    assert "not a JPEG" in response.content.decode()
    moderator.post(path, change(voted, picture=SimpleUploadedFile("x.png", PNG)))
    voted.refresh_from_db()
    first = Path(voted.picture.path)
    assert first.suffix == ".webp"
    with django_capture_on_commit_callbacks(execute=True):
        moderator.post(path, change(voted, picture=SimpleUploadedFile("x.png", PNG)))
    voted.refresh_from_db()
    second = Path(voted.picture.path)
    assert second.exists()
    assert not first.exists()
    with django_capture_on_commit_callbacks(execute=True):
        moderator.post(path, change(voted) | {"picture-clear": "on"})
    voted.refresh_from_db()
    assert not voted.picture
    assert not second.exists()


def test_a_full_disk_is_shown_in_the_admin_and_changes_nothing(moderator: Client, voted: Question) -> None:
    path = f"/admin/polls/question/{voted.pk}/change/"
    with no_room():
        form = change(voted, text="Tea, or coffee?", picture=SimpleUploadedFile("x.png", PNG))
        answer = moderator.post(path, form, follow=True)
    assert answer.redirect_chain == [(path, 302)]
    assert "has no room for the picture" in answer.content.decode()
    voted.refresh_from_db()
    assert (voted.text, voted.picture.name) == ("Tea or coffee?", "")


@pytest.mark.parametrize("author", ["9" * 24, "-1", "x", "\u0663"])
def test_an_author_that_cannot_be_is_no_fault(moderator: Client, author: str) -> None:
    path = f"/admin/polls/question/add/?author={author}"
    assert moderator.get(path).status_code == 200
    form = {"text": "Which?", "choices-TOTAL_FORMS": "0", "choices-INITIAL_FORMS": "0", "author": author}
    assert "Select a valid choice" in moderator.post(path, form).content.decode()


@pytest.mark.parametrize("position", ["99999999999", "32768", "-32769"])
def test_a_position_fits_its_column(moderator: Client, voted: Question, position: str) -> None:
    form = change(voted) | {"choices-0-position": position}
    page = moderator.post(f"/admin/polls/question/{voted.pk}/change/", form).content.decode()
    assert "Ensure this value is" in page
