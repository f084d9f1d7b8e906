"""Uploaded pictures. Pillow redraws each one, and only the redrawn picture is stored."""

import logging
import uuid
from contextlib import suppress
from io import BytesIO
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.db.models.fields.files import FieldFile
from django.utils.translation import gettext as _
from PIL import ExifTags, Image

from .settings import PICTURES_PER_USER

logger = logging.getLogger(__name__)

FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]
# The rest of a request is for the form's other fields.
MAX_MB = max(1, settings.UPLOAD_LIMIT_MB - 1)
# Millions. A file of a few kB can decode to gigabytes. This limit allows 5120 × 2880 pixels, for which a worker needs
# 390 MB.
MAX_PIXELS = 16
# Of a JPEG before it is made smaller, so that a camera's passes. One of several scans, such as a progressive one, takes
# up to 8 bytes for each pixel: 177 million took 1.4 GB, in a file of 800 bytes.
MAX_PIXELS_JPEG = 50
# Each scan takes as long as a whole picture: 2,000 of them took 19 s, in a file of 22 kB. A progressive JPEG has ten.
MAX_SCANS = 50
MAX_SIDE = 1600
# By EXIF's orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF data says. Not exif_transpose, which fails where another tag is wrong."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # EXIF data that cannot be read; browsers show such a picture
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale a grey picture of 16 bits a pixel, which Pillow's own conversion turns white."""
    if not image.mode.startswith("I"):
        return image
    image.info.pop("transparency", None)  # a grey of 16 bits
    return image.convert("I").point(lambda grey: grey / 257).convert("L")


def check_pixels(image: Image.Image, millions: int) -> None:
    if image.width * image.height > millions * 1_000_000:
        raise forms.ValidationError(_("The picture has more than %(n)d megapixels.") % {"n": millions}, code="pixels")


def check_jpeg(image: Image.Image, upload: "File[bytes]") -> None:
    """Check the cost of decoding a JPEG, which its size in bytes does not bound."""
    check_pixels(image, MAX_PIXELS_JPEG)
    place = upload.tell()
    upload.seek(0)
    # Compressed data have no such bytes.
    if upload.read().count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans")
    upload.seek(place)


def redraw(upload: "File[bytes]") -> "ContentFile[bytes]":
    """Return the picture upright, at most MAX_SIDE pixels wide and high, as WebP without metadata.

    It gets a random name, so that caches may keep it forever and nobody can guess or choose the name.
    Raises forms.ValidationError if the file is not a picture or is too large.
    """
    if upload.size > MAX_MB * 1024 * 1024:
        raise forms.ValidationError(_("The picture is larger than %(n)d MB.") % {"n": MAX_MB}, code="size")
    try:
        with Image.open(upload, formats=FORMATS) as image:
            if image.format in ("JPEG", "MPO"):
                check_jpeg(image, upload)
            # Decodes a JPEG at a fraction of its size, which from here on is its size.
            image.draft("RGB", (MAX_SIDE, MAX_SIDE))
            check_pixels(image, MAX_PIXELS)
            picture = eight_bits(upright(image))
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        picture.info.clear()
        stored = BytesIO()
        picture.save(stored, "WEBP", quality=80)
    except forms.ValidationError:
        raise
    except Exception as error:
        # Any exception: Pillow documents none, and for a damaged file raises a dozen kinds.
        logger.info("not a picture: %r", error)
        raise forms.ValidationError(_("This is not a JPEG, PNG, WebP or GIF picture."), code="invalid") from error
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
        return _("The server has no room for the picture just now. Ask without one, or try again later.")


class TooManyPictures(NotStored):
    def __str__(self) -> str:
        return _("You have stored %(n)d pictures, which is the limit. Ask without one.") % {"n": PICTURES_PER_USER}


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


def delete_after_commit(picture: FieldFile) -> None:
    """Delete a picture's file after the commit. A file that cannot be deleted stays, and the log has its name."""
    storage, name = picture.storage, picture.name

    def delete() -> None:
        try:
            storage.delete(str(name))
        except (OSError, SuspiciousOperation) as error:
            logger.error("%s stays: %s", name, error)

    transaction.on_commit(delete)


class PictureField(models.FileField):
    """A FileField that stores a redrawn picture, in every form and in the admin."""

    attr_class = Picture

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": PictureFormField, **kwargs})
