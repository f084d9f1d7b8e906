"""Extend the command `seed` of accounts. Django runs this one, because INSTALLED_APPS has polls before accounts."""

from typing import Any

from accounts.management.commands import seed
from django.db import transaction
from polls.models import Choice, Question


class Command(seed.Command):
    help = f"{seed.Command.help} Then an example question."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if not Question.objects.exists():
            question = Question.objects.create(text="Which part of a deployment do you trust least?")
            for position, text in enumerate(["The database", "The network", "The configuration", "The Friday"]):
                Choice.objects.create(question=question, text=text, position=position)
            self.stdout.write(f"example question: {question}")
        super().handle(*args, **options)
