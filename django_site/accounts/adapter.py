"""The rules of this project for names and addresses, in allauth's forms."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from .models import User
from .names import fold, fold_email

# The navigation shows these.
SILENT = ("account/messages/logged_in.txt", "account/messages/logged_out.txt")


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    def clean_username(self, username: str, shallow: bool = False) -> Any:
        """Return the folded name. Raises ValidationError if it is taken or not allowed."""
        return super().clean_username(User._meta.get_field("username").clean(username, None), shallow)

    def clean_email(self, email: str) -> str:
        """Return the folded address. Raises ValidationError if nothing valid is left."""
        folded = fold_email(email)
        validate_email(folded)
        return folded

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Return the user, None if the credentials are wrong. Raises ValidationError after too many attempts."""
        for name, normalize in (("username", fold), ("email", fold_email)):
            if name in credentials:
                credentials[name] = normalize(credentials[name])
        return super().authenticate(request, **credentials)

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """Mark the address as verified. Return False if another user has verified it."""
        try:
            with transaction.atomic():
                return bool(super().confirm_email(request, email_address))
        except IntegrityError:  # Another request verified it after allauth looked.
            return False

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        if message_template not in SILENT:
            super().add_message(request, level, message_template, *args, **kwargs)


class TwoFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    def build_totp_svg(self, url: str) -> Any:
        """Return the QR code as an element, without the declaration of an XML file."""
        svg = super().build_totp_svg(url)
        return svg[svg.index("<svg") :]
