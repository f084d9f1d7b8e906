"""What goes over the wire. The same types validate requests and make the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .limits import LONGEST_WAIT

# A bigint of the database.
LARGEST_ID = 2**63 - 1

Version = Annotated[int, Meta(ge=0, le=LARGEST_ID, description="Of the tally; grows with every change")]
Moment = Annotated[datetime, Meta(tz=True)]
Key = Annotated[
    str,
    Meta(
        pattern="^[!-~]{1,64}$",
        description="Your name for this vote, 1 to 64 visible ASCII characters: with it you may send the vote again",
    ),
]


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


class PollQuery(Struct, forbid_unknown_fields=True):
    after: Annotated[int, Meta(ge=-1, le=LARGEST_ID, description="The version that you have; -1: none")] = -1
    wait: Annotated[float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait for another")] = LONGEST_WAIT
