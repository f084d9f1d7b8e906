"""One name, one account: names are stored folded, so that the database's unique constraint decides on any database."""

import unicodedata
from typing import Any

from config.fields import BLANK
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.models import User
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest


def fold(name: str) -> str:
    """Return the name in small letters, without what nobody sees (NFKC_Casefold): "Émile" and "émile" are one name."""
    seen = "".join(char for char in name if ord(char) not in BLANK)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


class NameField(UsernameField):
    def to_python(self, value: Any) -> Any:
        name = super().to_python(value)
        return fold(name) if name else name


class Backend(ModelBackend):
    """Log in with a name in any case. A name that an earlier release stored unfolded takes precedence."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **others: Any
    ) -> User | None:
        if username and not User.objects.filter(username=username).exists():
            username = fold(username)
        return super().authenticate(request, username, password, **others)


@receiver(pre_save, sender=User)
def fold_new_name(instance: User, **kwargs: Any) -> None:
    """Fold names that no form checks, for example those of `createsuperuser`."""
    if instance._state.adding:
        instance.username = fold(instance.username)
