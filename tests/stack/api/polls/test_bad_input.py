"""Malformed votes, unknown and closed questions, double votes: the answers of both apps."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.people import CSRF, Person
from tests.sample import Subject
from tests.stack.api.polls.votes import vote_by_api
from tests.stack.checks import check_error
from tests.stack.site.polls.fixtures import vote_on_site
from tests.stacks import Stack


def votes(stack: Stack, question: Subject) -> int:
    with stack.client() as client:
        total = client.get(f"/api/v1/questions/{question.id}/results").json()["total"]
    assert isinstance(total, int)
    return total


@pytest.mark.parametrize(
    ("body", "statuses", "field"),
    [
        (b"", {400, 422}, ""),
        (b"{", {400}, ""),
        (b"\xff\xfe", {400}, ""),
        (b'{"choice\xff": 1}', {400}, ""),
        (b"null", {400, 422}, ""),
        (b"[]", {400, 422}, ""),
        (b"{}", {422}, "choice"),
        (b'{"choice": "1"}', {422}, "choice"),
        (b'{"choice": null}', {422}, "choice"),
        (b'{"choice": 1.5}', {422}, "choice"),
        (b'{"choice": true}', {422}, "choice"),
        (b'{"choice": 1, "count": 1000}', {422}, "count"),
        (b'{"choice": 9223372036854775807}', {404, 422}, ""),
        (b'{"choice": 9223372036854775808}', {404, 422}, ""),
        (b'{"choice": -1}', {404, 422}, ""),
        (b"[" * 20_000, {400, 422}, ""),
    ],
)
def test_malformed_votes(
    stack: Stack,
    people: Iterator[Person],
    question: Subject,
    voter: Person,
    body: bytes,
    statuses: set[int],
    field: str,
) -> None:
    before = votes(stack, question)
    with voter.client() as client:
        response = client.post(
            f"/api/v1/questions/{question.id}/votes", content=body, headers={"Content-Type": "application/json"}
        )
    assert response.status_code in statuses, response.text
    check_error(response, response.status_code, "json")
    assert field in response.text
    assert votes(stack, question) == before


@pytest.fixture(scope="session")
def voter(people: Iterator[Person]) -> Person:
    return next(people)


@pytest.mark.parametrize("number", ["999999999", "9223372036854775808", "-1", "x", "1%00", "1/../../etc"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/questions/{}/", "html"),
        ("/api/v1/questions/{}", "json"),
        ("/api/v1/questions/{}/results", "json"),
        ("/api/v1/live/questions/{}/events", "json"),
        ("/api/v1/live/questions/{}/socket", "json"),
        ("/api/v1/live/questions/{}/poll", "json"),
    ],
)
def test_unknown_question(stack: Stack, path: str, kind: str, number: str) -> None:
    with stack.client(headers={"Upgrade": "websocket", "Connection": "Upgrade"} if "socket" in path else {}) as client:
        response = client.get(path.format(number))
    # nginx itself rejects a NUL.
    check_error(response, 400 if "%00" in number else 404, kind)


def test_unknown_question_and_choice(
    stack: Stack, question: Subject, ask: Callable[..., Subject], voter: Person
) -> None:
    foreign = ask().choices[0]
    before = votes(stack, question)
    for number, choice in [(999999999, question.choices[0]), (question.id, 999999999), (question.id, foreign)]:
        check_error(vote_by_api(voter, number, choice), 404, "json")
        check_error(vote_on_site(voter, number, choice), 404, "html")
    assert votes(stack, question) == before


def test_voting_twice(stack: Stack, ask: Callable[..., Subject], people: Iterator[Person]) -> None:
    asked, one, other = ask(), next(people), next(people)
    assert vote_by_api(one, asked.id, asked.choices[0]).status_code in (200, 201)
    assert vote_on_site(other, asked.id, asked.choices[0]).status_code == 302
    for person in (one, other):
        check_error(vote_by_api(person, asked.id, asked.choices[1]), 409, "json")
        check_error(vote_on_site(person, asked.id, asked.choices[1]), 409, "html")
    with stack.client() as client:
        tally = client.get(f"/api/v1/questions/{asked.id}/results").json()
    assert [choice["votes"] for choice in tally["choices"]] == [2, 0]


def test_closed_question(stack: Stack, ask: Callable[..., Subject], people: Iterator[Person]) -> None:
    closes_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    asked, voter = ask(closes_at=closes_at), next(people)
    with stack.client() as client:
        while time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) <= closes_at:
            time.sleep(0.1)
        check_error(vote_by_api(voter, asked.id, asked.choices[0]), 410, "json")
        check_error(vote_on_site(voter, asked.id, asked.choices[0]), 410, "html")
        assert votes(stack, asked) == 0
        listed = {
            state: [question["id"] for question in client.get(f"/api/v1/questions?state={state}").json()["questions"]]
            for state in ("open", "closed")
        }
    assert asked.id in listed["closed"]
    assert asked.id not in listed["open"]


@pytest.mark.parametrize(
    ("form", "status"),
    [({}, 400), ({"choice": "x"}, 400), ({"choice": "1" * 30}, 404), ({"choice": "-1"}, 404)],
)
def test_malformed_votes_on_the_site(
    people: Iterator[Person], question: Subject, voter: Person, form: dict[str, str], status: int
) -> None:
    with voter.client() as client:
        response = client.post(f"/questions/{question.id}/vote/", data={"csrfmiddlewaretoken": CSRF} | form)
    assert response.status_code == status


@pytest.mark.parametrize("query", ["state=sideways", "page=x", "page=-1"])
def test_malformed_queries(stack: Stack, query: str) -> None:
    with stack.client() as client:
        check_error(client.get(f"/api/v1/questions?{query}"), 422, "json")
