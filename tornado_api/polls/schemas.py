"""Types of questions, choices, votes and tallies, as clients send and get them."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ..schemas import Version

Moment = Annotated[datetime, Meta(tz=True)]


class Choice(Struct):
    id: int
    text: str


class Question(Struct):
    id: int
    text: str
    picture: Annotated[str | None, Meta(description="Path on this host")]
    created_at: Moment
    closes_at: Annotated[
        Moment | None, Meta(description="After this the question takes no votes; null: it never closes")
    ]
    version: Version


class QuestionWithChoices(Question):
    choices: list[Choice]


class QuestionPage(Struct):
    questions: list[Question]
    page: int
    next: Annotated[int | None, Meta(description="The next page; null: this is the last page")]


class ChoiceTally(Struct):
    id: int
    text: str
    votes: int


class Tally(Struct):
    """A question's counts. The newest tally replaces all before it."""

    question: int
    version: Version
    closes_at: Moment | None
    total: int
    choices: list[ChoiceTally]


class NewVote(Struct, forbid_unknown_fields=True):
    choice: int


class Vote(Struct):
    question: int
    choice: int
    version: Annotated[
        int,
        Meta(description="The version of a tally that counts the vote: the first, or, if repeated, the newest"),
    ]


class ListQuery(Struct, forbid_unknown_fields=True):
    state: Annotated[
        Literal["open", "closed"] | UnsetType,
        Meta(description="Only questions that take votes, or only those that do not"),
    ] = UNSET
    page: Annotated[int, Meta(ge=1, le=10_000, description="Twenty questions each, newest first")] = 1
