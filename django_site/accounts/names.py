"""One name, one account: names are stored folded, so that the database's unique constraint decides on any database."""

import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from config.fields import BLANK, visible
from django.db import models


def fold(name: str) -> str:
    """Return the name in small letters, without what nobody sees (NFKC_Casefold): "Émile" and "émile" are one name."""
    seen = "".join(char for char in name if ord(char) not in BLANK)
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def fold_email(address: str) -> str:
    """Return the address in small letters, without what nobody sees. allauth compares addresses in small letters.

    NFKC, because mail for a domain in full-width letters goes to the one in plain letters. And the domain as its
    punycode decodes: mail for "bücher.example" and for "xn--bcher-kva.example" goes to one mailbox.
    """
    local, at, domain = visible(unicodedata.normalize("NFKC", address).lower()).rpartition("@")
    with suppress(UnicodeError):
        # Django encodes it in the same way when it sends the mail.
        domain = domain.encode("idna").decode("idna")
    return f"{local}{at}{domain}"


class Folded(models.Field):  # type: ignore[type-arg]
    """Text that is folded when it is checked, stored and searched for."""

    fold: Callable[[str], str]

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return self.fold(text) if isinstance(text, str) else text

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))


class Name(Folded, models.CharField):  # type: ignore[type-arg]
    fold = staticmethod(fold)


class Email(Folded, models.EmailField):  # type: ignore[type-arg]
    fold = staticmethod(fold_email)
