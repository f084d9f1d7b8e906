"""What is wrong with a request gets a clear answer, the same through nginx as without it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest

from tests.stack.conftest import CSRF, Person, Question
from tests.stack.pictures import PNG
from tests.stack.test_limits import error
from tests.stacks import AnyStack


def votes(stack: AnyStack, question: Question) -> int:
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
def test_votes_that_make_no_sense(
    stack: AnyStack,
    people: Iterator[Person],
    question: Question,
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
    error(response, response.status_code, "json")
    assert field in response.text
    assert votes(stack, question) == before


@pytest.fixture(scope="session")
def voter(people: Iterator[Person]) -> Person:
    return next(people)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/questions?state=sideways",
        "/api/v1/questions?page=x",
        "/api/v1/questions?page=-1",
        "/api/v1/live/questions/ID/poll?after=x",
        "/api/v1/live/questions/ID/poll?wait=x",
        "/api/v1/live/questions/ID/poll?wait=-1",
        "/api/v1/live/questions/ID/poll?wait=1e99",
        "/api/v1/live/questions/ID/poll?wait=nan",
    ],
)
def test_queries_that_make_no_sense(stack: AnyStack, question: Question, path: str) -> None:
    with stack.client() as client:
        response = client.get(path.replace("ID", str(question.id)))
    assert response.status_code in (400, 422), response.text
    error(response, response.status_code, "json")


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
def test_unknown_question(stack: AnyStack, path: str, kind: str, number: str) -> None:
    with stack.client(headers={"Upgrade": "websocket", "Connection": "Upgrade"} if "socket" in path else {}) as client:
        response = client.get(path.format(number))
    # nginx itself refuses a NUL.
    error(response, 400 if "%00" in number else 404, kind)


def test_unknown_question_and_choice(
    stack: AnyStack, question: Question, ask: Callable[..., Question], voter: Person
) -> None:
    foreign = ask().choices[0]
    before = votes(stack, question)
    for number, choice in [(999999999, question.choices[0]), (question.id, 999999999), (question.id, foreign)]:
        error(voter.vote_by_api(number, choice), 404, "json")
        error(voter.vote_on_site(number, choice), 404, "html")
    assert votes(stack, question) == before


def token(stack: AnyStack, secret: str = "", kid: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    good_kid, _, good_secret = stack.setting("TOKEN_KEYS").split(",")[0].partition(":")
    now = int(time.time())
    good = {"iss": "site", "aud": "api", "sub": "1", "iat": now, "exp": now + 600, "jti": "0" * 32}
    content = {name: value for name, value in (good | claims).items() if value is not None}
    return jwt.encode(content, secret or good_secret, algorithm=algorithm, headers={"kid": kid or good_kid})


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "expired": {"iat": 1_000_000_000, "exp": 1_000_003_600},
    "from the future": {"iat": 9_000_000_000, "exp": 9_000_003_600},
    "foreign issuer": {"iss": "elsewhere"},
    "foreign audience": {"aud": "elsewhere"},
    "foreign key": {"secret": "x" * 64},
    "unknown key": {"kid": "unknown"},
    "other algorithm": {"algorithm": "HS512"},
    "subject is no user id": {"sub": "root"},
    **{f"without {claim}": {claim: None} for claim in ("iss", "aud", "sub", "iat", "exp", "jti")},
}


@pytest.mark.parametrize("fault", BAD_TOKENS)
def test_bad_token(stack: AnyStack, question: Question, fault: str) -> None:
    authorized(stack, question, f"Bearer {token(stack, **BAD_TOKENS[fault])}", 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "x" * 5000])
def test_no_token(stack: AnyStack, question: Question, header: str) -> None:
    authorized(stack, question, header, 401)


def test_unsigned_token(stack: AnyStack, question: Question) -> None:
    claims = jwt.decode(token(stack), options={"verify_signature": False})
    authorized(stack, question, f"Bearer {jwt.encode(claims, '', algorithm='none')}", 401)


def test_token_of_a_deleted_user(stack: AnyStack, question: Question) -> None:
    authorized(stack, question, f"Bearer {token(stack, sub='999999999')}", 401)


def authorized(stack: AnyStack, question: Question, header: str, status: int) -> None:
    before = votes(stack, question)
    with stack.client(headers={"Authorization": header} if header else {}) as client:
        response = client.post(f"/api/v1/questions/{question.id}/votes", json={"choice": question.choices[0]})
    error(response, status, "json")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert votes(stack, question) == before


def test_the_token_that_these_are_made_from_is_good(stack: AnyStack, ask: Callable[..., Question]) -> None:
    asked = ask()
    with stack.client(headers={"Authorization": f"Bearer {token(stack)}"}) as client:
        response = client.post(f"/api/v1/questions/{asked.id}/votes", json={"choice": asked.choices[0]})
    assert response.status_code in (200, 201), response.text


def test_voting_twice(stack: AnyStack, ask: Callable[..., Question], people: Iterator[Person]) -> None:
    asked, one, other = ask(), next(people), next(people)
    assert one.vote_by_api(asked.id, asked.choices[0]).status_code in (200, 201)
    assert other.vote_on_site(asked.id, asked.choices[0]).status_code == 302
    for person in (one, other):
        error(person.vote_by_api(asked.id, asked.choices[1]), 409, "json")
        error(person.vote_on_site(asked.id, asked.choices[1]), 409, "html")
    with stack.client() as client:
        tally = client.get(f"/api/v1/questions/{asked.id}/results").json()
    assert [choice["votes"] for choice in tally["choices"]] == [2, 0]


def test_closed_question(stack: AnyStack, ask: Callable[..., Question], people: Iterator[Person]) -> None:
    closes_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    asked, voter = ask(closes_at=closes_at), next(people)
    with stack.client() as client:
        while time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) <= closes_at:
            time.sleep(0.1)
        error(voter.vote_by_api(asked.id, asked.choices[0]), 410, "json")
        error(voter.vote_on_site(asked.id, asked.choices[0]), 410, "html")
        assert votes(stack, asked) == 0
        listed = {
            state: [question["id"] for question in client.get(f"/api/v1/questions?state={state}").json()["questions"]]
            for state in ("open", "closed")
        }
    assert asked.id in listed["closed"]
    assert asked.id not in listed["open"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "picture"),
        (PNG[: len(PNG) // 2], "picture"),
        (b"", "empty"),
        (PNG + bytes(5 * 1024 * 1024), "5"),
    ],
    ids=["svg", "half", "empty", "large"],
)
def test_a_picture_that_is_none(stack: AnyStack, people: Iterator[Person], content: bytes, message: str) -> None:
    form = {"text": "With a picture?", "choices": "Yes\nNo", "csrfmiddlewaretoken": CSRF}
    with next(people).client() as client:
        response = client.post("/questions/new/", data=form, files={"picture": ("cat.png", content, "image/png")})
    assert response.status_code == 200
    assert message in fault(response, "picture"), response.text


def fault(response: httpx.Response, field: str) -> str:
    """The message that stands at a field of a form."""
    _, _, after = response.text.partition(f'id="id_{field}_error"')
    message = after.partition("</ul>")[0]
    assert message, f"no message at {field}"
    return message


@pytest.mark.parametrize(
    ("form", "status"),
    [({}, 400), ({"choice": "x"}, 400), ({"choice": "1" * 30}, 404), ({"choice": "-1"}, 404)],
)
def test_a_vote_on_the_site_that_makes_no_sense(
    people: Iterator[Person], question: Question, voter: Person, form: dict[str, str], status: int
) -> None:
    with voter.client() as client:
        response = client.post(f"/questions/{question.id}/vote/", data={"csrfmiddlewaretoken": CSRF} | form)
    assert response.status_code == status


def test_a_form_without_its_secret(stack: AnyStack, people: Iterator[Person], question: Question) -> None:
    with next(people).client() as client:
        response = client.post(f"/questions/{question.id}/vote/", data={"choice": question.choices[0]})
    error(response, 403, "html")
