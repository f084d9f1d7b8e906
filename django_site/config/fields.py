"""Model fields for what people type. Forms, the admin and `full_clean` all check through the field."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q, lookups
from django.utils.translation import gettext as _

from . import rows as rows

# Both databases and every client can hold these moments. PostgreSQL has years that Python does not.
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)
# Joiners, fillers, variation selectors and blank Braille: Unicode calls them letters, marks, symbols and unassigned.
BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2065, 0x2800, 0x3164, 0xFFA0}
BLANK |= {*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)}
# Spaces, and characters without width. Inside a text they may be needed, as in emojis of several people.
EDGES = re.compile(r"^[\s\u00ad\u200b-\u200f\u2060\ufeff]+|[\s\u00ad\u200b-\u200f\u2060\ufeff]+$")


def visible(text: str) -> str:
    """Return what people see of a text, without invisible characters, and with one space for several."""
    seen = [char for char in text if ord(char) not in BLANK and unicodedata.category(char) not in ("Cc", "Cf", "Cs")]
    return " ".join(unicodedata.normalize("NFC", "".join(seen)).split())


class Line(models.CharField):  # type: ignore[type-arg]
    """One line of text that people can see: in Unicode's form NFC, without control characters."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return EDGES.sub("", unicodedata.normalize("NFC", text)) if isinstance(text, str) else text

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in value):
            raise ValidationError(_("Control characters are not allowed."), code="control")
        if value and not visible(value):
            raise ValidationError(_("Nothing of this can be seen."), code="invisible")
        super().validate(value, model_instance)


class Moment(models.DateTimeField):  # type: ignore[type-arg]
    """A time from FIRST to LAST, in UTC: PostgreSQL refuses zones of 16 hours and more, which Python has."""

    default_validators = [MinValueValidator(FIRST), MaxValueValidator(LAST)]

    def to_python(self, value: Any) -> Any:
        moment = super().to_python(value)
        try:
            return moment.astimezone(UTC) if isinstance(moment, datetime) and moment.tzinfo else moment
        except OverflowError:
            raise ValidationError(_("No calendar has this time in UTC."), code="invalid") from None


class SmallInteger(models.SmallIntegerField):  # type: ignore[type-arg]
    """A number from -32768 to 32767 on SQLite too, whose columns take larger ones."""

    default_validators = [MinValueValidator(-(2**15)), MaxValueValidator(2**15 - 1)]


def within(name: str, kind: type[Moment] | type[SmallInteger]) -> Q:
    """Return the condition of a CHECK constraint for a field of this kind: NULL, or within its limits."""
    validators: list[Any] = kind.default_validators
    low, high = (validator.limit_value for validator in validators)
    return Q(**{f"{name}__range": (low, high)}) | Q(**{name: None})


def fits(value: Any) -> bool:
    try:
        return value is None or abs(int(value)) < 2**63
    except (TypeError, ValueError):
        return hasattr(value, "resolve_expression")


@models.IntegerField.register_lookup
class In(lookups.In):
    """Ignores what is in no column of integers, such as an author's id in the address of the admin's form.

    Django does so for `exact`. Without this, SQLite's driver refuses numbers beyond 64 bits, and Django what is none.
    """

    def get_prep_lookup(self) -> Any:
        if self.rhs_is_direct_value():
            self.rhs = list(filter(fits, self.rhs))
        return super().get_prep_lookup()
