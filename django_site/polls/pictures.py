"""Uploaded pictures. Pillow redraws each one, and only the redrawn picture is stored."""

import logging
import uuid
from contextlib import suppress
from io import BytesIO
from typing import Any

from django import forms
from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import models
from django.db.models.fields.files import FieldFile
from PIL import Image, ImageOps

logger = logging.getLogger(__name__)

FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]
# The rest of a request is for the form's other fields.
MAX_MB = max(1, settings.UPLOAD_LIMIT_MB - 1)
# A file of a few kB can decode to gigabytes. This limit allows 5120 × 2880 pixels, for which a worker needs 390 MB.
MAX_PIXELS = 16_000_000
MAX_SIDE = 1600


def redraw(upload: "File[bytes]") -> "ContentFile[bytes]":
    """Return the picture upright, at most MAX_SIDE pixels wide and high, as WebP without metadata.

    It gets a random name, so that caches may keep it forever and nobody can guess or choose the name.
    Raises forms.ValidationError if the file is not a picture or is too large.
    """
    if upload.size > MAX_MB * 1024 * 1024:
        raise forms.ValidationError(f"The picture is larger than {MAX_MB} MB.", code="size")
    try:
        with Image.open(upload, formats=FORMATS) as image:
            # Decodes a JPEG at a fraction of its size, which from here on is its size: a camera's 50 megapixels pass.
            image.draft("RGB", (MAX_SIDE, MAX_SIDE))
            if image.width * image.height > MAX_PIXELS:
                raise forms.ValidationError("The picture has more than 16 megapixels.", code="pixels")
            picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        ImageOps.exif_transpose(picture, in_place=True)
        stored = BytesIO()
        picture.save(stored, "WEBP", quality=80)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise forms.ValidationError("This is not a JPEG, PNG, WebP or GIF picture.", code="invalid") from error
    return ContentFile(stored.getvalue(), name=f"{uuid.uuid4().hex}.webp")


def stored_name(instance: models.Model, filename: str) -> str:
    return f"pictures/{filename}"


class PictureFormField(forms.FileField):
    widget = forms.ClearableFileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"})

    def to_python(self, data: Any) -> Any:
        upload = super().to_python(data)
        return redraw(upload) if upload else upload


class NotStored(Exception):
    """The disk is full or the directory is not writable. The log has the reason."""

    def __str__(self) -> str:
        return "The server has no room for the picture just now. Ask without one, or try again later."


class Picture(FieldFile):
    def save(self, name: str, content: "File[bytes]", save: bool = True) -> None:
        """Raises NotStored."""
        try:
            super().save(name, content, save)
        except OSError as error:
            logger.error("picture not stored: %s", error)
            # Delete the part that was written.
            with suppress(OSError):
                self.storage.delete(self.field.generate_filename(self.instance, name))
            raise NotStored from error


class PictureField(models.FileField):
    """A FileField that stores a redrawn picture, in every form and in the admin."""

    attr_class = Picture

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": PictureFormField, **kwargs})
