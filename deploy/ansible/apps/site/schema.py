"""Compare a release's migrations with the database's: `python deploy/ansible/apps/site/schema.py django_site`.

Prints JSON. `applied` and `known` are names of migrations (`auth.0001_initial`) in the database and in this release.
`pending` are the known ones that are not applied, in order. The previous release could not run with those in
`breaking`.
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

HARMLESS = (AddIndex, AlterModelManagers, AlterModelOptions, CreateModel, RemoveConstraint, RemoveIndex)


def is_shared(operation: Operation) -> bool:
    """Return whether the previous release can run after this operation.

    It can if everything that it uses stays, and if the database fills in new fields. A new constraint may reject its
    writes. An operation that is not in the list counts as breaking.
    """
    if isinstance(operation, AddField):
        field = operation.field
        return bool(field.null or field.many_to_many or field.db_default is not NOT_PROVIDED)
    return isinstance(operation, HARMLESS)


def breaks(migration: Migration) -> bool:
    """Return whether the previous release cannot run with a migration.

    No earlier code uses the tables of an app's first migration. A migration with `shared = True` says that two releases
    share it; a comment beside it should say why.
    """
    shared = migration.initial or getattr(migration, "shared", False)
    return not shared and not all(map(is_shared, migration.operations))


def main(source: Path) -> None:
    loader = MigrationLoader(connection)
    name = ".".join
    plan = [key for leaf in loader.graph.leaf_nodes() for key in loader.graph.forwards_plan(leaf)]
    found = {
        "applied": sorted(map(name, loader.applied_migrations)),
        "known": sorted(map(name, loader.disk_migrations)),
        "pending": [name(key) for key in dict.fromkeys(plan) if key not in loader.applied_migrations],
        # Only the project's own migrations. Django takes care of compatibility in its own applications.
        "breaking": [
            name(key)
            for key, migration in sorted(loader.disk_migrations.items())
            if Path(sys.modules[type(migration).__module__].__file__ or "").is_relative_to(source) and breaks(migration)
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    directory = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(directory))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    main(directory)
