"""Uploaded pictures: what is stored is never what was sent, but a picture that Pillow drew from it."""

import uuid
from io import BytesIO
from typing import Any

from django import forms
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import models
from PIL import Image, ImageOps

FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]
MAX_BYTES = 5 * 1024 * 1024
# A few kB can claim to be gigabytes of pixels: this is a screen of 5120 × 2880, and takes a worker to at most 390 MB.
MAX_PIXELS = 16_000_000
MAX_SIDE = 1600


def redraw(upload: "File[bytes]") -> "ContentFile[bytes]":
    """The picture upright, at most MAX_SIDE pixels wide and high, as WebP without metadata.

    Raises forms.ValidationError for what is not a picture or too large.
    """
    if upload.size > MAX_BYTES:
        raise forms.ValidationError("The picture is larger than 5 MB.", code="size")
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
    return ContentFile(stored.getvalue(), name="picture.webp")


def stored_name(instance: models.Model, filename: str) -> str:
    """A new name for each picture, so that caches may keep it for ever, and nobody can guess or choose it."""
    return f"pictures/{uuid.uuid4().hex}.webp"


class PictureFormField(forms.FileField):
    widget = forms.ClearableFileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"})

    def to_python(self, data: Any) -> Any:
        upload = super().to_python(data)
        return redraw(upload) if upload else upload


class PictureField(models.FileField):
    """A FileField that whichever form it is in, the admin's too, fills with a redrawn picture."""

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": PictureFormField, **kwargs})
