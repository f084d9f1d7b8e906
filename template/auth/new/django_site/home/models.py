"""Waves. Their count is the version of what watchers see: it grows with each, and with nothing else."""

from functools import partial
from typing import Any

from config import bus
from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now

# What there is one of, on the bus.
WAVES = 0


class Wave(models.Model):
    # A wave outlives its user, or the count would turn back. The unique constraint's index serves the foreign key too.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, db_index=False)
    # Who sends a wave makes a key for it: the same user's wave with the same key is that wave sent again.
    key = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="home_wave_once")]

    def __str__(self) -> str:
        return f"{self.user}, {self.created_at:%d %b %Y %H:%M}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        transaction.on_commit(partial(bus.publish, [WAVES]))
