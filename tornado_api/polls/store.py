"""Reads and writes questions, choices and votes."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from .. import metrics
from ..auth import Token
from ..database import AUTHORIZED, REJECTIONS, UNREADABLE, Connection, Database, NoUser, Row, Unavailable
from ..live import Gone
from .schemas import Choice, ChoiceTally, Question, QuestionPage, QuestionWithChoices, Tally

PAGE_SIZE = 20
VOTES = metrics.counter("votes", "Votes that were counted")

QUESTION = """
    SELECT question.id, question.text, picture, created_at, closes_at, version, choice.id, choice.text
    FROM polls_question question
    LEFT JOIN polls_choice choice ON choice.question_id = question.id
    WHERE question.id = :id
    ORDER BY choice.position, choice.id
"""
COLUMNS = "SELECT id, text, picture, created_at, closes_at, version FROM polls_question"
PAGE = "ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset"
QUESTIONS = f"{COLUMNS} {PAGE}"
OPEN_QUESTIONS = f"{COLUMNS} WHERE closes_at IS NULL OR closes_at > :now {PAGE}"
CLOSED_QUESTIONS = f"{COLUMNS} WHERE closes_at <= :now {PAGE}"
# One statement, and therefore one snapshot: the counts belong to that version.
TALLY = """
    SELECT version, closes_at, choice.id, choice.text, COALESCE(votes, 0)
    FROM polls_question question
    LEFT JOIN polls_choice choice ON choice.question_id = question.id
    LEFT JOIN (
        SELECT choice_id, COUNT(*) AS votes FROM polls_vote WHERE question_id = :id GROUP BY choice_id
    ) counts ON counts.choice_id = choice.id
    WHERE question.id = :id
    ORDER BY choice.position, choice.id
"""
VERSIONS = "SELECT id, version FROM polls_question WHERE id IN :ids"
# The constraint finds a second vote. A read before the insert could miss one that comes in between.
INSERT_VOTE = f"""
    INSERT INTO polls_vote (question_id, choice_id, voter_id, key)
    SELECT question.id, choice.id, :user, :key
    FROM polls_question question, polls_choice choice
    WHERE question.id = :question AND (closes_at IS NULL OR closes_at > :now)
    AND choice.id = :choice AND choice.question_id = question.id
    AND {AUTHORIZED}
    ON CONFLICT (question_id, voter_id) DO NOTHING
    RETURNING question_id
"""  # noqa: S608
# After the insert, because all voters of a question wait for this row's lock.
RAISE_VERSION = "UPDATE polls_question SET version = version + 1 WHERE id = :question RETURNING version"
# Both in one round trip. SQLite takes no INSERT in a WITH.
VOTE_ON_POSTGRESQL = f"""
    WITH inserted AS ({INSERT_VOTE})
    UPDATE polls_question SET version = version + 1 WHERE id = (SELECT question_id FROM inserted) RETURNING version
"""  # noqa: S608
REASON = f"""
    SELECT
        version,
        closes_at <= :now,
        EXISTS (SELECT 1 FROM polls_choice WHERE id = :choice AND question_id = question.id),
        {AUTHORIZED},
        vote.choice_id,
        vote.key
    FROM polls_question question
    LEFT JOIN polls_vote vote ON vote.question_id = question.id AND vote.voter_id = :user
    WHERE question.id = :question
"""  # noqa: S608


class NoQuestion(Gone):
    pass


class NoChoice(Exception):
    pass


class Closed(Exception):
    pass


class AlreadyVoted(Exception):
    pass


class KeyReused(Exception):
    """The voter sent this key with another choice of the question."""


def as_time(value: Any) -> Any:
    """Return the datetime of a column, None for NULL. In SQLite it is Django's text, in UTC and without a zone."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except (TypeError, ValueError):  # SQLite has any text and number in such a column
        return UNREADABLE


def as_question(row: Row) -> Question:
    id, text, picture, created_at, closes_at, version = row
    picture = f"/media/{picture}" if picture else None
    return Question(id, text, picture, as_time(created_at), as_time(closes_at), version)


class PollStore:
    """`state` and `versions` are for the hub: its channels "polls:ID" are questions with their tallies."""

    name = "polls"

    def __init__(self, database: Database) -> None:
        self.database = database

    async def questions(self, state: str | None, page: int) -> QuestionPage:
        sql = {None: QUESTIONS, "open": OPEN_QUESTIONS, "closed": CLOSED_QUESTIONS}[state]
        # One more than a page shows whether there is a next page, without counting them all.
        rows = await self.database.read(sql, now=datetime.now(UTC), limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE)
        more = page + 1 if len(rows) > PAGE_SIZE else None
        return QuestionPage([as_question(row) for row in rows[:PAGE_SIZE]], page, more)

    async def question(self, id: int) -> QuestionWithChoices:
        """Raises NoQuestion."""
        rows = await self.database.read(QUESTION, id=id)
        if not rows:
            raise NoQuestion
        found = as_question(rows[0][:6])
        choices = [Choice(id, text) for *_, id, text in rows if id is not None]
        return QuestionWithChoices(
            found.id, found.text, found.picture, found.created_at, found.closes_at, found.version, choices
        )

    async def state(self, id: int) -> Tally:
        """Raises NoQuestion."""
        rows = await self.database.read(TALLY, id=id)
        if not rows:
            raise NoQuestion
        version, closes_at, *_ = rows[0]
        choices = [ChoiceTally(id, text, votes) for _, _, id, text, votes in rows if id is not None]
        return Tally(id, version, as_time(closes_at), sum(each.votes for each in choices), choices)

    async def versions(self, ids: Iterable[int]) -> dict[int, int]:
        """Return the versions of the questions that exist."""
        return dict(await self.database.read(VERSIONS, ids=list(ids)))

    async def vote(self, question: int, choice: int, token: Token, key: str = "") -> int:
        """Return the version of a tally that counts the vote: the first, or the newest if its key was sent before.

        Raises NoQuestion, NoChoice, NoUser, Closed, AlreadyVoted, KeyReused.
        """
        now = datetime.now(UTC)
        given = {"question": question, "choice": choice, "user": token.user_id, "token": token.id}

        def insert(connection: Connection) -> list[Row]:
            with connection.transaction():
                inserted = connection.execute(INSERT_VOTE, key=key, now=now, **given)
                return connection.execute(RAISE_VERSION, question=question) if inserted else []

        try:
            if self.database.is_sqlite:
                rows = await self.database.call(insert)
            else:
                rows = await self.database.execute(VOTE_ON_POSTGRESQL, key=key, now=now, **given)
        except REJECTIONS as error:
            # The question, choice or user was deleted in between. A client that retries learns which one.
            raise Unavailable("deleted meanwhile") from error
        version: int
        for (version,) in rows:
            metrics.mine(VOTES).inc()
            return version
        rows = await self.database.read(REASON, now=now, **given)
        if not rows:
            raise NoQuestion
        version, is_closed, has_choice, is_authorized, first_choice, first_key = rows[0]
        if not has_choice:
            raise NoChoice
        if not is_authorized:
            raise NoUser
        if first_choice is None:
            raise Closed if is_closed else Unavailable("changed meanwhile")
        if not key or first_key != key:
            raise AlreadyVoted
        if first_choice != choice:
            raise KeyReused
        return version
