from typing import Any

from config import metrics, traces
from config.env import APP
from django.conf import settings
from django.core.management.base import BaseCommand
from jobs.worker import Worker


class Command(BaseCommand):
    help = "Run jobs until SIGTERM: the command of the app `jobs` in deploy/apps.toml."

    def handle(self, *args: Any, **options: Any) -> None:
        metrics.keep(settings.VAR_DIR / "run/metrics", APP, settings.INSTANCE)
        traces.start(settings.OTEL_EXPORTER_OTLP_ENDPOINT, APP, settings.INSTANCE)
        Worker().work()
