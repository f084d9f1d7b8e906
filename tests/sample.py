"""What the tests do to the project as it runs, and where: they read, vote on and watch questions.

This is all that tests of the deployment (stack, chaos, native, compose, vm) know of what is deployed.
"""

import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import httpx

from tests.people import CSRF, Person, make
from tests.stacks import AnyStack

# Of the question that is there from the start: its page, its results, where it is voted on, where it is watched.
PAGE = "/questions/1/"
ENDPOINT = "/api/v1/questions/1/results"
SITE_POST = "/questions/1/vote/"
API_POST = "/api/v1/questions/1/votes"
LIVE = "/api/v1/live/questions/1"
# Of the first page: its template, words that a new release has others for, words that stay. Of the endpoint: a word.
TEMPLATE = "django_site/templates/polls/list.html"
EITHER = "<h1>Questions"
OLD, NEW = f"{EITHER}</h1>", f"{EITHER} of today</h1>"
HEADING = "Open questions"
WORD = '"version"'
# A line of the view and of the handler that return these; the models, and their last migration.
VIEW = ("django_site/polls/views.py", "    return render(")
HANDLER = (
    "tornado_api/polls/endpoints.py",
    "        self.answer_newest(await self.application.store.state(id_from(id)))",
)
MODELS = "django_site/polls/models.py"
MIGRATION = ("polls", "0002_vote_key")

State = dict[str, Any]

MAKE_QUESTIONS = """
import json
from polls.models import Choice, Question
asked = Question.objects.bulk_create(Question(text="Tea or coffee?") for _ in range(COUNT))
choices = Choice.objects.bulk_create(Choice(question=each, text=text) for each in asked for text in ("Tea", "Coffee"))
print(json.dumps([[each.pk, choices[2 * n].pk, choices[2 * n + 1].pk] for n, each in enumerate(asked)]))
"""
READ_VOTES = """
import json
from polls.models import Question, Vote
votes = Vote.objects.filter(question__in=IDS).values_list("question", "voter__username", "choice")
versions = Question.objects.filter(pk__in=IDS).values_list("pk", "version")
print(json.dumps([list(votes), list(versions)]))
"""


def write_on_site(client: httpx.Client) -> httpx.Response:
    """302 if it counts. Once for each person."""
    form = {"choice": first_choice(client), "csrfmiddlewaretoken": CSRF}
    return client.post(SITE_POST, data=form)


def write_by_api(client: httpx.Client) -> httpx.Response:
    """201 if it counts. Once for each person."""
    return client.post(API_POST, json={"choice": first_choice(client)})


def first_choice(client: httpx.Client) -> int:
    return int(client.get(ENDPOINT).json()["choices"][0]["id"])


@dataclass(frozen=True)
class Subject:
    """A question."""

    id: int
    choices: tuple[int, ...]

    @property
    def page(self) -> str:
        return f"/questions/{self.id}/"

    @property
    def endpoint(self) -> str:
        return f"/api/v1/questions/{self.id}/results"

    @property
    def live(self) -> str:
        return f"/api/v1/live/questions/{self.id}"


@dataclass(frozen=True)
class Write:
    """A vote, which may be sent again."""

    person: Person
    subject: Subject
    choice: int
    key: str

    @property
    def row(self) -> tuple[int, str, int]:
        """As the database has it."""
        return self.subject.id, self.person.name, self.choice

    def request(self, kind: str) -> tuple[str, dict[str, str], bytes]:
        """Target, headers and body: on the site, or by the api."""
        if kind == "site write":
            form = {"choice": self.choice, "key": self.key, "csrfmiddlewaretoken": CSRF}
            headers = {"Cookie": self.person.cookie, "Content-Type": "application/x-www-form-urlencoded"}
            return f"/questions/{self.subject.id}/vote/", headers, urlencode(form).encode()
        headers = {
            "Authorization": f"Bearer {self.person.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": self.key,
        }
        body = json.dumps({"choice": self.choice}).encode()
        return f"/api/v1/questions/{self.subject.id}/votes", headers, body


def lock(writes: Iterable[Write]) -> bytes:
    """The statement that makes these wait, until its transaction ends."""
    ids = ", ".join(str(write.subject.id) for write in writes)
    return f"SELECT FROM polls_question WHERE id IN ({ids}) FOR UPDATE".encode()


class Writes:
    """The votes of one load: of everybody, on questions that nobody has voted on yet, each once."""

    def __init__(self, people: list[Person], subjects: list[Subject]) -> None:
        self.subjects = subjects
        self.pairs = itertools.product(people, subjects)

    def __next__(self) -> Write:
        person, subject = next(self.pairs)
        return Write(person, subject, random.choice(subject.choices), uuid.uuid4().hex)

    def verify(self, stack: AnyStack, acknowledged: list[Write], newest: Mapping[Subject, State]) -> None:
        """The database has what was acknowledged, and nothing else; and the newest states count each once."""
        script = READ_VOTES.replace("IDS", str([subject.id for subject in self.subjects]))
        votes, versions = json.loads(stack.manage("shell", "--verbosity=0", "--command", script))
        assert Counter(map(tuple, votes)) == Counter(write.row for write in acknowledged), (
            "votes that are not those acknowledged"
        )
        for subject in self.subjects:
            counts = Counter(choice for question, _, choice in votes if question == subject.id)
            state = newest[subject]
            assert state["version"] == dict(versions)[subject.id] == counts.total()
            assert {choice["id"]: choice["votes"] for choice in state["choices"]} == {
                id: counts[id] for id in subject.choices
            }


@dataclass
class Crowd:
    """Who writes."""

    people: list[Person]
    subjects: Iterator[Subject]

    @classmethod
    def gather(cls, stack: AnyStack) -> Self:
        script = MAKE_QUESTIONS.replace("COUNT", "1500")
        made = json.loads(stack.manage("shell", "--verbosity=0", "--command", script))
        return cls(make(stack, 200), (Subject(id, tuple(choices)) for id, *choices in made))

    def writes(self) -> Writes:
        """Enough for some minutes."""
        return Writes(self.people, list(itertools.islice(self.subjects, 40)))
