"""Reads and writes questions, choices and votes."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, ForeignKey, SmallInteger, String, Table, UniqueConstraint
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..database import UNREADABLE, Database, NoUser, Unavailable, metadata, user
from ..live import Gone
from .schemas import Choice, ChoiceTally, Question, QuestionPage, QuestionWithChoices, Tally

PAGE_SIZE = 20


class Timestamp(sa.TypeDecorator[datetime]):
    """A datetime with a time zone. In SQLite it is Django's text, in UTC and without a zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)) if value else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        read = super().result_processor(dialect, coltype)

        def read_or_replace(value: Any) -> datetime | None:
            try:
                return read(value) if read else value
            except (OverflowError, TypeError, ValueError):  # SQLite has any text and number in such a column
                return UNREADABLE

        return read_or_replace


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


# SQLite generates ids only in a column of this type.
Id = BigInteger().with_variant(sa.Integer, "sqlite")
question = Table(
    "polls_question",
    metadata,
    Column("id", Id, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("picture", String(100), nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=sa.func.now()),
    Column("closes_at", Timestamp),
    Column("version", BigInteger, nullable=False, server_default="0"),
)
choice = Table(
    "polls_choice",
    metadata,
    Column("id", Id, primary_key=True),
    Column("question_id", ForeignKey("polls_question.id"), nullable=False),
    Column("text", String(100), nullable=False),
    Column("position", SmallInteger, nullable=False),
)
vote = Table(
    "polls_vote",
    metadata,
    Column("id", Id, primary_key=True),
    Column("question_id", ForeignKey("polls_question.id"), nullable=False),
    Column("choice_id", ForeignKey("polls_choice.id"), nullable=False),
    Column("voter_id", ForeignKey(user.c.id), nullable=False),
    Column("key", String(64), nullable=False),
    UniqueConstraint("question_id", "voter_id"),
)

# One statement, and therefore one snapshot: the counts belong to that version.
counts = (
    sa.select(vote.c.choice_id, sa.func.count().label("votes"))
    .where(vote.c.question_id == sa.bindparam("id"))
    .group_by(vote.c.choice_id)
    .subquery()
)
TALLY = (
    sa.select(
        question.c.version,
        question.c.closes_at,
        choice.c.id,
        choice.c.text,
        sa.func.coalesce(counts.c.votes, 0).label("votes"),
    )
    .select_from(question.outerjoin(choice).outerjoin(counts, counts.c.choice_id == choice.c.id))
    .where(question.c.id == sa.bindparam("id"))
    .order_by(choice.c.position, choice.c.id)
)


def as_question(row: sa.Row[tuple[int, str, str, datetime, datetime | None, int]]) -> Question:
    picture = f"/media/{row.picture}" if row.picture else None
    return Question(row.id, row.text, picture, row.created_at, row.closes_at, row.version)


class PollStore:
    """`state` and `versions` are for the hub: its channels "polls:ID" are questions with their tallies."""

    name = "polls"

    def __init__(self, database: Database) -> None:
        self.database = database

    async def questions(self, state: str | None, page: int) -> QuestionPage:
        query = sa.select(question).order_by(question.c.created_at.desc(), question.c.id.desc())
        now = datetime.now(UTC)
        if state == "open":
            query = query.where(sa.or_(question.c.closes_at.is_(None), question.c.closes_at > now))
        elif state == "closed":
            query = query.where(question.c.closes_at <= now)
        # One more than a page shows whether there is a next page, without counting them all.
        async with self.database.connect(self.database.reads) as connection:
            rows = (await connection.execute(query.limit(PAGE_SIZE + 1).offset((page - 1) * PAGE_SIZE))).all()
        more = page + 1 if len(rows) > PAGE_SIZE else None
        return QuestionPage([as_question(row) for row in rows[:PAGE_SIZE]], page, more)

    async def question(self, id: int) -> QuestionWithChoices:
        """Raises NoQuestion."""
        query = (
            sa.select(question, choice.c.id.label("choice_id"), choice.c.text.label("choice_text"))
            .select_from(question.outerjoin(choice))
            .where(question.c.id == id)
            .order_by(choice.c.position, choice.c.id)
        )
        async with self.database.connect(self.database.reads) as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            raise NoQuestion
        found = as_question(rows[0])
        choices = [Choice(row.choice_id, row.choice_text) for row in rows if row.choice_id is not None]
        return QuestionWithChoices(
            found.id, found.text, found.picture, found.created_at, found.closes_at, found.version, choices
        )

    async def state(self, id: int) -> Tally:
        """Raises NoQuestion."""
        async with self.database.connect(self.database.reads) as connection:
            rows = (await connection.execute(TALLY, {"id": id})).all()
        if not rows:
            raise NoQuestion
        choices = [ChoiceTally(row.id, row.text, row.votes) for row in rows if row.id is not None]
        return Tally(id, rows[0].version, rows[0].closes_at, sum(each.votes for each in choices), choices)

    async def versions(self, ids: Iterable[int]) -> dict[int, int]:
        """Return the versions of the questions that exist."""
        query = sa.select(question.c.id, question.c.version).where(question.c.id.in_(list(ids)))
        async with self.database.connect(self.database.reads) as connection:
            return {row.id: row.version for row in await connection.execute(query)}

    async def vote(self, question_id: int, choice_id: int, voter_id: int, key: str = "") -> int:
        """Return the version of a tally that counts the vote: the first, or the newest if its key was sent before.

        Raises NoQuestion, NoChoice, NoUser, Closed, AlreadyVoted, KeyReused.
        """
        insert = (
            self.database.insert(vote)
            .values(question_id=question_id, choice_id=choice_id, voter_id=voter_id, key=key)
            .on_conflict_do_nothing(index_elements=["question_id", "voter_id"])
            .returning(vote.c.id)
        )
        sent_before = (
            sa.select(vote.c.choice_id, question.c.version)
            .join_from(vote, question)
            .where(vote.c.question_id == question_id, vote.c.voter_id == voter_id, vote.c.key == key)
        )
        count = (
            sa.update(question)
            .where(question.c.id == question_id)
            .values(version=question.c.version + 1)
            .returning(question.c.version)
        )
        async with self.database.connect(self.database.engine) as connection:
            closes_at = await self.find_closing_time(connection, question_id, choice_id, voter_id)
            version: int
            try:
                # The constraint finds a second vote. A read before the insert could miss one that comes in between.
                if await connection.scalar(insert) is None:
                    first = (await connection.execute(sent_before)).one_or_none() if key else None
                    if first is None:
                        raise AlreadyVoted
                    if first.choice_id != choice_id:
                        raise KeyReused
                    version = first.version
                elif closes_at and closes_at <= datetime.now(UTC):
                    # After the insert, so that a repeated vote is found first. The exception rolls the insert back.
                    raise Closed
                else:
                    # Last, because all voters of a question wait for this row's lock.
                    version = (await connection.execute(count)).scalar_one()
                    await connection.commit()
            except IntegrityError as error:
                # The question, choice or user was deleted after the check. A client that retries learns which one.
                raise Unavailable("deleted meanwhile") from error
        return version

    async def find_closing_time(
        self, connection: AsyncConnection, question_id: int, choice_id: int, voter_id: int
    ) -> datetime | None:
        """Return when a question closes. Raises NoQuestion, NoChoice, NoUser if there is none for this vote."""
        check = sa.select(
            question.c.closes_at,
            sa.exists().where(choice.c.id == choice_id, choice.c.question_id == question_id).label("choice"),
            sa.exists().where(user.c.id == voter_id, user.c.is_active).label("voter"),
        ).where(question.c.id == question_id)
        row = (await connection.execute(check)).one_or_none()
        if row is None:
            raise NoQuestion
        if not row.choice:
            raise NoChoice
        if not row.voter:
            raise NoUser
        closes_at: datetime | None = row.closes_at
        return closes_at
