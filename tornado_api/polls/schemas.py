"""What goes over the wire of polls."""

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
    closes_at: Annotated[Moment | None, Meta(description="After this it takes no votes; null: never")]
    version: Version


class QuestionWithChoices(Question):
    choices: list[Choice]


class QuestionPage(Struct):
    questions: list[Question]
    page: int
    next: Annotated[int | None, Meta(description="The next page; null: this is the last one")]


class ChoiceTally(Struct):
    id: int
    text: str
    votes: int


class Tally(Struct):
    """A question's counts. State, not an event: the newest replaces all before."""

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
    version: Annotated[int, Meta(description="Of a tally that counts it: the first, or, if sent again, the newest")]


class ListQuery(Struct, forbid_unknown_fields=True):
    state: Annotated[
        Literal["open", "closed"] | UnsetType, Meta(description="Only those that take votes, or only those that do not")
    ] = UNSET
    page: Annotated[int, Meta(ge=1, le=10_000, description="Twenty questions each, newest first")] = 1
