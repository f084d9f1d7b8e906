"""Asking and voting."""

from typing import Any

from accounts.models import User
from config.fields import visible
from django import forms
from django.db import transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .models import Choice, Question
from .pictures import MAX_MB, TooManyPictures
from .settings import PICTURES_PER_USER


class ChoicesField(forms.CharField):
    """Two to ten different choices, one per line. The cleaned value is a list of str."""

    widget = forms.Textarea(attrs={"rows": 5})

    def clean(self, value: Any) -> Any:
        # The model's field checks and normalizes each line.
        field: Any = Choice._meta.get_field("text")
        lines = [line.strip() for line in super().clean(value).splitlines()]
        choices = [field.clean(line, None) for line in lines if line]
        if not 2 <= len(choices) <= 10:
            raise forms.ValidationError(
                _("Give two to ten choices, one per line. There are %(n)d.") % {"n": len(choices)}
            )
        if len(set(map(visible, choices))) < len(choices):
            raise forms.ValidationError(_("Two of the choices are the same."))
        return choices


class QuestionForm(forms.ModelForm):  # type: ignore[type-arg]
    choices = ChoicesField(label=gettext_lazy("Choices"), help_text=gettext_lazy("Two to ten, one per line."))

    class Meta:
        model = Question
        fields = ["text", "choices", "closes_at", "picture"]
        labels = {
            "closes_at": gettext_lazy("Closing time, UTC (optional)"),
            "picture": gettext_lazy("Picture (optional)"),
        }
        help_texts = {"picture": format_lazy(gettext_lazy("JPEG, PNG, WebP or GIF, up to {n} MB."), n=MAX_MB)}
        widgets = {"closes_at": forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")}

    field_order = ["text", "choices", "closes_at", "picture"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["closes_at"].help_text = _("Without one it stays open. It is %(time)s UTC now.") % {
            "time": f"{timezone.now():%H:%M}"
        }

    def clean_closes_at(self) -> Any:
        closes_at = self.cleaned_data["closes_at"]
        if closes_at and closes_at <= timezone.now():
            raise forms.ValidationError(_("This time has passed."))
        return closes_at

    @transaction.atomic
    def save(self, commit: bool = True) -> Question:
        """Raises NotStored, if only because the author has stored too many pictures."""
        if self.instance.picture:
            # One form of an author at a time, so that two at once do not both take the last place.
            author = User.objects.select_for_update().get(pk=self.instance.author_id)
            if author.questions.exclude(picture="").count() >= PICTURES_PER_USER:
                raise TooManyPictures
        question: Question = super().save()
        Choice.objects.bulk_create(
            Choice(question=question, text=text, position=position)
            for position, text in enumerate(self.cleaned_data["choices"])
        )
        return question


class VoteForm(forms.Form):
    choice = forms.IntegerField(error_messages=dict.fromkeys(["required", "invalid"], gettext_lazy("Choose one.")))
    key = forms.RegexField(r"^[!-~]{0,64}$", required=False)
