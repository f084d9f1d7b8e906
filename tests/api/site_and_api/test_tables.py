"""The api's tables are the site's: every column that the api names exists in Django's models, with its type."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.db.backends.postgresql.base import DatabaseWrapper
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from tornado_api.database import metadata

# The api's parts define their tables when they are imported.
importlib.import_module("tornado_api.app")
MODELS = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
# PostgreSQL's names for types: SQLite has one name for several.
CONNECTION: Any = DatabaseWrapper({"NAME": "nowhere", "OPTIONS": {}})
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_columns(table: Table) -> None:
    fields = {field.column: field for field in MODELS[table.name]._meta.concrete_fields}
    for column in table.columns:
        field = fields[column.name]
        assert column.type.compile(DIALECT).lower() == field.db_type(CONNECTION)
        assert column.nullable == field.null
        assert column.primary_key == field.primary_key
        referred = [key.column.table.name for key in column.foreign_keys]
        assert referred == ([field.related_model._meta.db_table] if field.related_model else [])
