"""One name, one account: names are stored folded, so that the database's unique constraint decides on any database."""

import unicodedata
from typing import Any

from config.fields import BLANK, visible
from django.db import models


def fold(name: str) -> str:
    """Return the name in small letters, without what nobody sees (NFKC_Casefold): "Émile" and "émile" are one name."""
    seen = "".join(char for char in name if ord(char) not in BLANK)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def fold_email(address: str) -> str:
    """Return the address in small letters, without what nobody sees. allauth compares addresses in small letters."""
    return visible(address.lower())


class Name(models.CharField):  # type: ignore[type-arg]
    """Text that is folded when it is checked, stored and searched for."""

    def to_python(self, value: Any) -> Any:
        name = super().to_python(value)
        return fold(name) if isinstance(name, str) else name

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))


class Email(models.EmailField):  # type: ignore[type-arg]
    """An address that is folded when it is checked, stored and searched for."""

    def to_python(self, value: Any) -> Any:
        address = super().to_python(value)
        return fold_email(address) if isinstance(address, str) else address

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))
