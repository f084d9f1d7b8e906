"""What a release makes of the database's schema, as JSON on standard output: run with its own Python and settings.

Shape: `applied` and `known` are names of migrations (`auth.0001_initial`), in the database and in this release;
`pending` are those that are known and not applied, in their order; `breaking` those that the code before them cannot
run with.
"""

import json
import os
import sys
from pathlib import Path

import django
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.fields import AddField
from django.db.migrations.operations.models import (
    AddIndex,
    AlterModelManagers,
    AlterModelOptions,
    CreateModel,
    RemoveConstraint,
    RemoveIndex,
)
from django.db.models.fields import NOT_PROVIDED

SITE = Path(__file__).resolve().parents[2] / "django_site"
HARMLESS = (AddIndex, AlterModelManagers, AlterModelOptions, CreateModel, RemoveConstraint, RemoveIndex)


def is_shared(operation: Operation) -> bool:
    """The release before may run on it: it finds what it knows, and what it does not know fills itself in.

    A constraint that is added may refuse what the release before writes; a change that this function cannot judge is
    taken for one that breaks.
    """
    if isinstance(operation, AddField):
        field = operation.field
        return bool(field.null or field.many_to_many or field.db_default is not NOT_PROVIDED)
    return isinstance(operation, HARMLESS)


def breaks(migration: Migration) -> bool:
    """Before an app's first migration there is no code of it.

    A migration may say itself that two releases share it: `shared = True`, with the reason in a comment.
    """
    shared = migration.initial or getattr(migration, "shared", False)
    return not shared and not all(map(is_shared, migration.operations))


def main() -> None:
    loader = MigrationLoader(connection)
    name = ".".join
    plan = [key for leaf in loader.graph.leaf_nodes() for key in loader.graph.forwards_plan(leaf)]
    found = {
        "applied": sorted(map(name, loader.applied_migrations)),
        "known": sorted(map(name, loader.disk_migrations)),
        "pending": [name(key) for key in dict.fromkeys(plan) if key not in loader.applied_migrations],
        # What Django's own applications change is theirs to keep right.
        "breaking": [
            name(key)
            for key, migration in sorted(loader.disk_migrations.items())
            if Path(sys.modules[type(migration).__module__].__file__ or "").is_relative_to(SITE) and breaks(migration)
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(SITE))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    main()
