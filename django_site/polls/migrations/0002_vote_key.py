from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("polls", "0001_initial"),
    ]

    operations = [
        # The database fills it in for the release before this one, which does not know it.
        migrations.AddField(
            model_name="vote",
            name="key",
            field=models.CharField(db_default="", editable=False, max_length=64),
        ),
    ]
