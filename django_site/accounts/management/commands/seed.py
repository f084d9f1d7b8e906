import secrets
from typing import Any

from accounts.models import User
from django.core.management.base import BaseCommand
from django.db import transaction


class Command(BaseCommand):
    help = "Create the first data of a new installation: the user `admin`. Its password is printed once."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if not User.objects.filter(username="admin").exists():
            password = secrets.token_urlsafe(12)
            User.objects.create_superuser("admin", password=password)
            self.stdout.write(f"admin user: admin, password: {password} (shown this once)")
            # Before the commit: a process that is killed after it would take the password with it.
            self.stdout.flush()
