import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from polls.models import Choice, Question


class Command(BaseCommand):
    help = (
        "Makes what a new installation lacks: an example question, and the user `admin`, whose password it prints once."
    )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if not Question.objects.exists():
            question = Question.objects.create(text="Which part of a deployment do you trust least?")
            for position, text in enumerate(["The database", "The network", "The configuration", "The Friday"]):
                Choice.objects.create(question=question, text=text, position=position)
            self.stdout.write(f"example question: {question}")
        if not User.objects.filter(username="admin").exists():
            password = secrets.token_urlsafe(12)
            User.objects.create_superuser("admin", password=password)
            self.stdout.write(f"admin user: admin, password: {password} (shown this once)")
