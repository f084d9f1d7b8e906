"""Uploads when the site and the data are on different hosts: in the media store, an nginx (nginx/media.conf)."""

import errno
import http.client
import logging
import os
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible
from django.utils.encoding import filepath_to_uri

logger = logging.getLogger(__name__)

# Seconds to connect, and between two bytes. Shorter than the database's timeouts.
TIMEOUT = 3


class Away(Exception):
    """The media store or the bucket is unavailable. Not an OSError, which would be an error of the disk."""

    def __str__(self) -> str:
        return f"uploads: {self.__cause__ or super().__str__()}"


@deconstructible
class MediaStore(Storage):
    """Files that are created, read and deleted, and never changed. `url` is the store's address: http://10.0.0.5:8003.

    All methods except `delete` raise Away, and OSError for a request that the store rejects.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port

    def url(self, name: str | None) -> str:
        return urljoin(settings.MEDIA_URL, filepath_to_uri(name))

    def ask(self, method: str, name: str, body: bytes | None = None) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the response, with a status of 200 to 299, and its body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request(method, f"/media/{filepath_to_uri(name)}", body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Away from error
        finally:
            connection.close()
        if response.status in (502, 503, 504):
            raise Away(f"{response.status} {response.reason}")
        # These errors have classes of their own: FileNotFoundError, FileExistsError, and a full disk.
        code = {404: errno.ENOENT, 409: errno.EEXIST, 507: errno.ENOSPC}.get(response.status, errno.EIO)
        if not 200 <= response.status < 300:
            raise OSError(code, f"{os.strerror(code)}: the media store answers {response.status} to {method}", name)
        return response, content

    def exists(self, name: str) -> bool:
        try:
            self.ask("HEAD", name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        return int(self.ask("HEAD", name)[0].headers["Content-Length"])

    def delete(self, name: str) -> None:
        """Log a file that cannot be deleted, and keep it: the object that it belonged to is already deleted."""
        try:
            self.ask("DELETE", name)
        except FileNotFoundError:
            pass
        except Away as away:
            logger.error("%s stays: %s", name, away)

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        if mode != "rb":
            raise ValueError("a file in the media store can only be read")
        return File(BytesIO(self.ask("GET", name)[1]), name)

    def _save(self, name: str, content: "File[Any]") -> str:
        self.ask("PUT", name, b"".join(content.chunks()))
        return name
