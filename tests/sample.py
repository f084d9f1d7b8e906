"""The sample app as the tests of the deployment use it: they read questions, vote, and watch tallies.

No other module of those tests depends on polls.
"""

import io
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
from PIL import Image

from tests.people import CSRF, Person, make
from tests.stacks import Stack

# The first question, which `make up` creates: its page, its tally, where people vote, and where clients watch it.
PAGE = "/questions/1/"
ENDPOINT = "/api/v1/questions/1/results"
SITE_POST = "/questions/1/vote/"
API_POST = "/api/v1/questions/1/votes"
LIVE = "/api/v1/live/questions/1"
# The template of the first page, a tag that a test's new release changes, and text that stays.
TEMPLATE = "django_site/polls/templates/polls/list.html"
EITHER = '<div class="heading'
OLD, NEW = f'{EITHER}">', f'{EITHER} today">'
HEADING = "Open questions"
# Text in the endpoint's response.
WORD = '"version"'
# The file and a line of the view and of the handler of these responses; the models, and their last migration.
VIEW = ("django_site/polls/views.py", "    return render(")
HANDLER = (
    "tornado_api/polls/endpoints.py",
    "        self.answer_newest(await self.share(self.application.store(PollStore).state, id_from(id)))",
)
MODELS = "django_site/polls/models.py"
MIGRATION = ("polls", "0001_initial")

State = dict[str, Any]


def picture() -> bytes:
    """Return a picture to upload, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (640, 400), "teal").save(buffer, "PNG")
    return buffer.getvalue()


PNG = picture()

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
    """Vote with the page's form. The status is 302 if the vote counts. Each person has one vote."""
    form = {"choice": first_choice(client), "csrfmiddlewaretoken": CSRF}
    return client.post(SITE_POST, data=form)


def write_by_api(client: httpx.Client) -> httpx.Response:
    """Vote by the api. The status is 201 if the vote counts. Each person has one vote."""
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
    """A vote. Its key makes it safe to send again."""

    person: Person
    subject: Subject
    choice: int
    key: str

    @property
    def row(self) -> tuple[int, str, int]:
        """Return its row in the database."""
        return self.subject.id, self.person.name, self.choice

    def request(self, kind: str) -> tuple[str, dict[str, str], bytes]:
        """Return target, headers and body of a request to the site or to the api."""
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
    """Return the SQL statement that makes these writes wait until its transaction ends."""
    ids = ", ".join(str(write.subject.id) for write in writes)
    return f"SELECT FROM polls_question WHERE id IN ({ids}) FOR UPDATE".encode()


class Writes:
    """The votes of one load: each person votes once on each question. The questions have no other votes."""

    def __init__(self, people: list[Person], subjects: list[Subject]) -> None:
        self.subjects = subjects
        self.pairs = itertools.product(people, subjects)

    def __next__(self) -> Write:
        person, subject = next(self.pairs)
        return Write(person, subject, random.choice(subject.choices), uuid.uuid4().hex)

    def verify(self, stack: Stack, acknowledged: list[Write], newest: Mapping[Subject, State]) -> None:
        """Check that the database has exactly the acknowledged votes, and that the newest tallies count each once."""
        script = READ_VOTES.replace("IDS", str([subject.id for subject in self.subjects]))
        votes, versions = json.loads(stack.manage("shell", "--verbosity=0", "--command", script))
        assert Counter(map(tuple, votes)) == Counter(write.row for write in acknowledged), (
            "the votes in the database are not those that were acknowledged"
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
    """The people who vote, and fresh questions to vote on."""

    people: list[Person]
    subjects: Iterator[Subject]

    @classmethod
    def gather(cls, stack: Stack) -> Self:
        script = MAKE_QUESTIONS.replace("COUNT", "1500")
        made = json.loads(stack.manage("shell", "--verbosity=0", "--command", script))
        return cls(make(stack, 200), (Subject(id, tuple(choices)) for id, *choices in made))

    def writes(self) -> Writes:
        """Return enough votes for some minutes."""
        return Writes(self.people, list(itertools.islice(self.subjects, 60)))
