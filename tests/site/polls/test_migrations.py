"""A database of an earlier release, whose forms let in what Python cannot read."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from polls.models import Choice, Question

YEAR_10000 = {"sqlite": "9999-12-31 23:59:59.999999", "postgresql": "10000-01-01 11:59:00+00"}


def migrate(name: str) -> None:
    MigrationExecutor(connection).migrate([("polls", name)])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_rows_from_before_are_brought_within_the_limits() -> None:
    migrate("0002_vote_key")
    try:
        with connection.cursor() as cursor:
            for id, closes_at in enumerate(
                [YEAR_10000[connection.vendor], "0044-03-15 00:00:00", "2026-01-01 00:00:00"]
            ):
                insert = "INSERT INTO polls_question (id, text, picture, closes_at) VALUES (%s, 'Old?', '', %s)"
                cursor.execute(insert, [id + 1, closes_at])
            position = 99999999999 if connection.vendor == "sqlite" else -32768
            cursor.execute("INSERT INTO polls_choice (question_id, text, position) VALUES (1, 'Tea', %s)", [position])
    finally:
        migrate("0003_checks")
    years = Question.objects.order_by("pk").values_list("closes_at__year", flat=True)
    assert list(years) == [2999, 2000, 2026]
    assert abs(Choice.objects.get().position) in (32767, 32768)
