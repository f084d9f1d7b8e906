from typing import Any

from django.core.management.base import BaseCommand
from jobs.worker import Worker


class Command(BaseCommand):
    help = "Run jobs until SIGTERM: the command of the app `jobs` in deploy/apps.toml."

    def handle(self, *args: Any, **options: Any) -> None:
        Worker().work()
