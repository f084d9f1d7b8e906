from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self) -> None:
        # A worker has to know the periodic jobs of every app.
        autodiscover_modules("tasks")
