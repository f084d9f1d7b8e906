"""Uploads in S3-compatible storage. The bucket is private: nginx reads it by addresses that this module signs.

nginx keeps copies (nginx/site/media-bucket.conf), so it requests an address once in ten minutes for each file.
"""

import errno
import logging
import mimetypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import filepath_to_uri
from storages.backends.s3 import S3Storage

from .media import TIMEOUT, Away
from .methods import read_only

logger = logging.getLogger(__name__)

# Seconds that a signed address is valid. nginx uses it at once.
SIGNED = 60

# Python before 3.13 does not know it. The bucket stores the type, and nginx sends it.
mimetypes.add_type("image/webp", ".webp")


@contextmanager
def answers() -> Iterator[None]:
    """Raises Away if the bucket does not answer, and OSError if it rejects the request."""
    try:
        yield
    except BotoCoreError as error:
        raise Away from error
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status >= 500 or status == 429:
            raise Away from error
        raise OSError(errno.EIO, f"{os.strerror(errno.EIO)}: {error}") from error


class Bucket(S3Storage):  # type: ignore[misc]
    """Files that are created, read and deleted, and never changed. All methods raise what `answers` raises."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options,
            file_overwrite=False,
            querystring_expire=SIGNED,
            # No threads, which a worker of uWSGI would have to end.
            transfer_config=TransferConfig(use_threads=False),
            client_config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=TIMEOUT,
                read_timeout=TIMEOUT,
                # A bucket that hangs costs 7 s, of the request's deadline of 20 s.
                retries={"total_max_attempts": 2, "mode": "standard"},
                # Not every S3-compatible storage knows boto3's default, a checksum behind the body.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def url(self, name: str | None, *args: Any, **options: Any) -> str:
        return urljoin(settings.MEDIA_URL, filepath_to_uri(name))

    def signed(self, name: str) -> str:
        """Return an address that gives anyone the file for SIGNED seconds. Sends nothing to the bucket."""
        return str(super().url(name))

    def exists(self, name: str) -> bool:
        with answers():
            return bool(super().exists(name))

    def size(self, name: str) -> int:
        with answers():
            return int(super().size(name))

    def delete(self, name: str) -> None:
        """Log a file that cannot be deleted, and keep it: the object that it belonged to is already deleted."""
        try:
            with answers():
                super().delete(name)
        except Away as away:
            logger.error("%s stays: %s", name, away)

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        with answers():
            found: File[bytes] = super()._open(name, mode)
            return found

    def _save(self, name: str, content: "File[Any]") -> str:
        with answers():
            return str(super()._save(name, content))


@read_only
def serve(request: HttpRequest, name: str) -> HttpResponse:
    """Tell nginx where it gets an upload (X-Accel-Redirect). The client never sees the address."""
    address = urlsplit(default_storage.signed(name))  # type: ignore[attr-defined]
    return HttpResponse(headers={"X-Accel-Redirect": f"/bucket{address.path}?{address.query}"})
