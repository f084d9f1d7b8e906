import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from accounts.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from polls.models import Question, Vote
from polls.views import PAGE_SIZE

QuestionMaker = Callable[..., Question]
PAST = timezone.now() - timedelta(days=1)


def cast(question: Question, *counts: int) -> None:
    """Create this many votes of new users for each choice."""
    for choice, count in zip(question.choices.all(), counts, strict=True):
        for number in range(count):
            voter = User.objects.create(username=f"{choice.pk}-{number}")
            Vote.cast(question.pk, choice.pk, voter.pk)


def test_the_list_has_open_and_closed_questions_apart(client: Client, new_question: QuestionMaker) -> None:
    new_question(text="Still open?", closes_at=timezone.now() + timedelta(hours=1))
    new_question(text="Never closes?")
    new_question(text="Long closed?", closes_at=PAST)
    opened, closed = client.get("/").content.decode(), client.get("/?state=closed").content.decode()
    assert "Still open?" in opened
    assert "Never closes?" in opened
    assert "Long closed?" not in opened
    assert "Long closed?" in closed
    assert "Still open?" not in closed


def test_pages_of_the_list(client: Client, new_question: QuestionMaker) -> None:
    for number in range(PAGE_SIZE + 1):
        new_question(text=f"Question {number}.")
    first, second = client.get("/").content.decode(), client.get("/?page=2").content.decode()
    assert f"Question {PAGE_SIZE}." in first
    assert "Question 0." not in first
    assert "Question 0." in second
    assert client.get("/?page=99").content.decode() == second
    assert client.get("/?page=x").status_code == 200


def test_the_list_takes_as_many_queries_for_many_questions(
    client: Client, new_question: QuestionMaker, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        cast(new_question(author=User.objects.create(username=f"author {_}")), 2, 1)
    with django_assert_num_queries(3):  # how many, which, their votes
        page = client.get("/").content.decode()
    assert page.count("<b>3</b> votes") == 5
    assert "author 4 asked" in page


def test_a_question_page_shows_the_results(
    client: Client, new_question: QuestionMaker, django_assert_num_queries: Any
) -> None:
    question = new_question("Tea", "Coffee", "Neither")
    cast(question, 1, 2, 0)
    with django_assert_num_queries(3):  # question, votes, choices
        page = client.get(f"/questions/{question.pk}/").content.decode()
    assert 'width="33%"' in page
    assert 'width="67%"' in page
    assert 'width="0%"' in page
    assert "3 votes" in page
    assert "Log in to vote" in page
    assert "csrfmiddlewaretoken" not in page


def test_a_question_page_shows_your_vote(member: Client, user: User, question: Question) -> None:
    tea = question.choices.get(text="Tea")
    before = member.get(f"/questions/{question.pk}/").content.decode()
    assert 'type="radio"' in before
    assert "your vote" not in before
    Vote.cast(question.pk, tea.pk, user.pk)
    after = member.get(f"/questions/{question.pk}/").content.decode()
    assert "Tea <em>your vote</em>" in after
    assert 'type="radio"' not in after


def test_without_the_scripts_for_live_results_the_page_stays(
    client: Client, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project without the api deletes templates/polls/live.html."""
    monkeypatch.setattr("polls.views.find_parts", lambda name: [])
    page = client.get(f"/questions/{question.pk}/").content.decode()
    assert "<script" not in page
    assert "Log in to vote" in page


def test_a_closed_question_takes_no_votes(member: Client, new_question: QuestionMaker) -> None:
    page = member.get(f"/questions/{new_question(closes_at=PAST).pk}/").content.decode()
    assert "Voting has closed" in page
    assert 'type="radio"' not in page
    assert "<script" not in page


def test_times_are_valid_html(member: Client, new_question: QuestionMaker) -> None:
    """A fraction of a second has at most three digits there, and Django writes six."""
    path = f"/questions/{new_question(closes_at=timezone.now() + timedelta(days=1)).pk}/"
    for page in ("/", path, "/accounts/"):
        times = re.findall(r'datetime="([^"]*)"', member.get(page).content.decode())
        assert times
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times), times


def test_asking(member: Client, user: User) -> None:
    closes_at = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    response = member.post(
        "/questions/new/",
        {"text": "Which?", "choices": " one \r\n\r\ntwo", "closes_at": closes_at.strftime("%Y-%m-%dT%H:%M")},
    )
    question = Question.objects.get()
    assert response.status_code == 302
    assert response.headers["Location"] == f"/questions/{question.pk}/"
    assert (question.text, question.author, question.closes_at) == ("Which?", user, closes_at)
    assert list(question.choices.values_list("text", "position")) == [("one", 0), ("two", 1)]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", "", "This field is required."),
        ("text", "x" * 201, "at most 200 characters"),
        ("choices", "", "This field is required."),
        ("choices", "one", "two to ten choices"),
        ("choices", "\n".join("abcdefghijk"), "two to ten choices"),
        ("choices", "one\n one ", "the same"),
        ("choices", "one\n" + "x" * 101, "at most 100 characters"),
        ("text", "\u200b", "cannot be blank"),
        ("text", "\u3164", "Nothing of this can be seen"),
        ("text", "a\x1bb", "Control characters"),
        ("choices", "Tea\nTea\u200b", "the same"),
        ("choices", "T\u200dea\nTea", "the same"),
        ("choices", "\u00e9\ne\u0301", "the same"),
        ("choices", "Tea\n\u2800", "Nothing of this can be seen"),
        ("closes_at", "9999-12-31T23:59-12:00", "Enter a valid date"),
        ("closes_at", "9999-12-31T23:59:59.999999-00:01", "Enter a valid date"),
        ("closes_at", "9999-12-31T23:59", "less than or equal to 2999"),
        ("choices", "one\ntwo\0", "Null characters"),
        ("closes_at", "yesterday", "Enter a valid date/time."),
        ("closes_at", "2020-01-01T00:00", "has passed"),
    ],
)
def test_a_mistake_in_a_question_is_shown_at_its_field(member: Client, field: str, value: str, message: str) -> None:
    form = {"text": "Which?", "choices": "one\ntwo", "closes_at": ""} | {field: value}
    page = member.post("/questions/new/", form).content.decode()
    at_field = page.partition(f'id="id_{field}_error"')[2].partition("</ul>")[0]
    assert message in at_field
    widget = page.partition(f'name="{field}"')[2].partition(">")[0]
    assert 'aria-invalid="true"' in widget
    assert f"id_{field}_error" in widget
    assert "<title>Error: " in page
    assert not Question.objects.exists()


def test_asking_needs_a_login(client: Client, db: None) -> None:
    for response in (client.get("/questions/new/"), client.post("/questions/new/", {"text": "?"})):
        assert response.status_code == 302
        assert response.headers["Location"] == "/accounts/login/?next=/questions/new/"


def test_user_input_is_escaped(client: Client, new_question: QuestionMaker) -> None:
    question = new_question("<b>x</b>", "y", text="<script>alert(1)</script>")
    for path in ("/", f"/questions/{question.pk}/"):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "<b>x</b>" not in page


@pytest.mark.parametrize("path", ["/questions/1/", f"/questions/{2**80}/"])
def test_an_unknown_question_is_a_404(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 404


def test_voting_is_a_post(client: Client) -> None:
    response = client.get("/questions/1/vote/")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_head_is_answered_like_get(member: Client, question: Question) -> None:
    for path in (f"/questions/{question.pk}/", "/questions/new/"):
        assert member.head(path).status_code == 200


def test_no_page_has_inline_script_or_style(member: Client, question: Question) -> None:
    """nginx's Content-Security-Policy would block it."""
    for path in ("/", f"/questions/{question.pk}/", "/questions/new/"):
        page = member.get(path).content.decode()
        assert "style=" not in page
        assert "<style" not in page
        assert "<script>" not in page
        assert " onclick" not in page


def test_every_page_links_to_the_form_for_a_question(client: Client, db: None) -> None:
    assert '<a href="/questions/new/">Ask</a>' in client.get("/accounts/login/").content.decode()


def test_seed_asks_a_question_once(db: None) -> None:
    for _ in range(2):
        call_command("seed")
    assert Question.objects.get().choices.count() >= 2
    assert User.objects.get().username == "admin"
