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
    closes_at: Annotated[Moment | None, Meta(description="When voting ends. null: it does not end")]
    version: Version


class QuestionWithChoices(Question):
    choices: list[Choice]


class QuestionPage(Struct):
    questions: list[Question]
    page: int
    next: Annotated[int | None, Meta(description="The next page. null: this is the last page")]


class ChoiceTally(Struct):
    id: int
    text: str
    votes: int


class Tally(Struct):
    """The votes of a question. The tally with the highest version replaces all others."""

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
        Meta(description="The version of the first tally with this vote; for a repeated request, the newest version"),
    ]


class ListQuery(Struct, forbid_unknown_fields=True):
    state: Annotated[
        Literal["open", "closed"] | UnsetType,
        Meta(description="Only questions on which people can vote, or only those that are closed"),
    ] = UNSET
    page: Annotated[int, Meta(ge=1, le=10_000, description="The number of the page")] = 1
