from typing import Any

from allauth.account import forms
from django.utils.translation import gettext as _

from .models import User


class LoginForm(forms.LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # allauth's label is "Login".
        if placeholder := self.fields["login"].widget.attrs.get("placeholder"):
            self.fields["login"].label = placeholder


class SignUpForm(forms.SignupForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].help_text = User._meta.get_field("username").help_text
        self.fields["password1"].help_text = _("At least 8 characters, not only digits, and no common password.")
