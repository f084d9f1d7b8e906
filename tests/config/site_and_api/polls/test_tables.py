"""The api's tables are Django's: each column that it names is there, of that type, and it fills what it must."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import models
from django.db.backends.postgresql.base import DatabaseWrapper
from polls.models import Choice, Question, Vote
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from tornado_api.database import metadata, user
from tornado_api.polls import store

# PostgreSQL's names for types: SQLite has one name for several.
CONNECTION: Any = DatabaseWrapper({"NAME": "nowhere", "OPTIONS": {}})
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
TABLES: list[tuple[Table, type[models.Model]]] = [
    (user, User),
    (store.question, Question),
    (store.choice, Choice),
    (store.vote, Vote),
]


def test_these_are_all() -> None:
    assert set(metadata.tables.values()) == {table for table, _ in TABLES}
    assert {model for _, model in TABLES} >= set(apps.get_app_config("polls").get_models())


@pytest.mark.parametrize(("table", "model"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_columns(table: Table, model: type[models.Model]) -> None:
    assert table.name == model._meta.db_table
    fields = {field.column: field for field in model._meta.concrete_fields}
    for column in table.columns:
        field = fields[column.name]
        assert column.type.compile(DIALECT).lower() == field.db_type(CONNECTION)
        assert column.nullable == field.null
        assert column.primary_key == field.primary_key
        referred = [key.column.table.name for key in column.foreign_keys]
        assert referred == ([field.related_model._meta.db_table] if field.related_model else [])


def test_the_api_fills_what_the_database_does_not() -> None:
    given = {column.name for column in store.vote.columns}
    for field in Vote._meta.concrete_fields:
        assert field.column in given or field.has_db_default(), field


def test_what_makes_a_double_vote_impossible() -> None:
    [once] = [constraint for constraint in Vote._meta.constraints if isinstance(constraint, models.UniqueConstraint)]
    assert once.fields == ("question", "voter")
