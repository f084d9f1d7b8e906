"""Two releases share the database during a deploy, so the old one must run on each migration of the new one."""

import json

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from deploy.ansible.apps.site import schema
from deploy.core.apps import PROJECT


@pytest.mark.django_db
def test_the_release_before_runs_on_each_of_our_migrations(capsys: pytest.CaptureFixture[str]) -> None:
    schema.main(PROJECT / "django_site")
    found = json.loads(capsys.readouterr().out)
    assert found["breaking"] == []
    assert found["pending"] == []
    assert found["applied"] == found["known"]
    assert "auth.0001_initial" in found["known"]


TEXT = models.CharField(max_length=64)


@pytest.mark.parametrize(
    ("operation", "shared"),
    [
        (migrations.CreateModel("m", []), True),
        (migrations.AddField("m", "f", models.CharField(max_length=64, null=True)), True),
        (migrations.AddField("m", "f", models.CharField(max_length=64, db_default="")), True),
        (migrations.AddIndex("m", models.Index(fields=["f"], name="i")), True),
        # The release before inserts a row without it.
        (migrations.AddField("m", "f", models.CharField(max_length=64, default="")), False),
        # It writes what this refuses.
        (migrations.AddConstraint("m", models.UniqueConstraint(fields=["f"], name="c")), False),
        (migrations.RemoveField("m", "f"), False),
        (migrations.RenameField("m", "f", "g"), False),
        (migrations.AlterField("m", "f", TEXT), False),
        (migrations.DeleteModel("m"), False),
        (migrations.RunSQL("SELECT 1"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Operation) else str(value),
)
def test_migrations_that_two_releases_can_share(operation: Operation, shared: bool) -> None:
    migration = type("Migration", (migrations.Migration,), {"operations": [operation]})("0001", "any")
    assert schema.breaks(migration) is not shared
    migration.shared = True
    assert not schema.breaks(migration)
