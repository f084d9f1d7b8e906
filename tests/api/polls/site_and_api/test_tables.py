"""The api writes votes to the site's table."""

from django.apps import apps
from django.db import models
from polls.models import Vote

from tornado_api.database import metadata
from tornado_api.polls import store


def test_the_api_knows_every_model_of_polls() -> None:
    assert {model._meta.db_table for model in apps.get_app_config("polls").get_models()} <= set(metadata.tables)


def test_the_api_fills_every_column_without_a_default() -> None:
    given = {column.name for column in store.vote.columns}
    for field in Vote._meta.concrete_fields:
        assert field.column in given or field.has_db_default(), field


def test_the_database_makes_a_double_vote_impossible() -> None:
    [once] = [constraint for constraint in Vote._meta.constraints if isinstance(constraint, models.UniqueConstraint)]
    assert once.fields == ("question", "voter")
