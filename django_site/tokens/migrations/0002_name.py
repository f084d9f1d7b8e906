import config.fields
from django.db import migrations


class Migration(migrations.Migration):
    # The column stays as it is.
    shared = True

    dependencies = [
        ("tokens", "0001_initial"),
    ]

    operations = [
        migrations.AlterField("token", "name", config.fields.Line(max_length=50)),
    ]
