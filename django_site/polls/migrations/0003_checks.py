from datetime import UTC, datetime

import config.fields
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)


def mend(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Bring what earlier releases let in within the limits. This reads no row: Python has no year 10000."""
    questions = apps.get_model("polls", "Question")._default_manager
    questions.filter(closes_at__gt=LAST).update(closes_at=LAST)
    questions.filter(closes_at__lt=FIRST).update(closes_at=FIRST)
    choices = apps.get_model("polls", "Choice")._default_manager
    choices.filter(position__gt=32767).update(position=32767)
    choices.filter(position__lt=-32768).update(position=-32768)


class Migration(migrations.Migration):
    # The release before writes within these limits, except for the faults that they end.
    shared = True

    dependencies = [
        ("polls", "0002_vote_key"),
    ]

    operations = [
        migrations.RunPython(mend, migrations.RunPython.noop),
        migrations.AlterField("question", "text", config.fields.Line(max_length=200, verbose_name="question")),
        migrations.AlterField(
            "question", "closes_at", config.fields.Moment(blank=True, null=True, verbose_name="closes")
        ),
        migrations.AlterField("choice", "text", config.fields.Line(max_length=100, verbose_name="choice")),
        migrations.AlterField("choice", "position", config.fields.SmallInteger(default=0)),
        migrations.AddConstraint(
            "question",
            models.CheckConstraint(
                condition=models.Q(closes_at__range=(FIRST, LAST)) | models.Q(closes_at=None),
                name="polls_question_closes_at",
            ),
        ),
        migrations.AddConstraint(
            "choice",
            models.CheckConstraint(
                condition=models.Q(position__range=(-32768, 32767)) | models.Q(position=None),
                name="polls_choice_position",
            ),
        ),
    ]
