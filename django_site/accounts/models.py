from typing import Any

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils.translation import gettext_lazy as _

from .names import Email, Name, fold


class User(AbstractUser):
    """The project's own model from the first migration on: Django cannot replace it later. Add fields as you need."""

    username = Name(
        max_length=150,
        unique=True,
        validators=[UnicodeUsernameValidator()],
        help_text=_("Letters, digits and @ . + - _ only. Capitals become small letters."),
        error_messages={"unique": _("A user with that username already exists.")},
    )
    # The primary address. allauth's table of addresses says whether it is verified, and verified addresses are unique.
    email = Email(_("email address"), blank=True)

    @classmethod
    def normalize_username(cls, username: Any) -> Any:
        # A form whose username is missing gives None.
        return fold(username) if username else username
