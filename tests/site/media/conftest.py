"""A media store: a real nginx with nginx/media.conf. And a bucket."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.environment import PROJECT
from tests.site.media.buckets import bucket

if TYPE_CHECKING:
    from config.media import MediaStore


@pytest.fixture(scope="module")
def media_prefix() -> Iterator[Path]:
    """Let nginx's workers enter: they run as another user if nginx starts as root."""
    with tempfile.TemporaryDirectory(prefix="media-") as directory:
        for name in ("tmp", "run", "media", "etc"):
            (Path(directory) / name).mkdir()
        yield Path(directory)


@pytest.fixture(scope="module")
def media_port(media_prefix: Path) -> Iterator[int]:
    port = servers.free_port()
    shutil.copy(PROJECT / "nginx/media.conf", media_prefix / "etc/nginx.conf")
    size = f"{os.environ['UPLOAD_LIMIT_MB']}m"
    listen = f"listen 127.0.0.1:{port};\nclient_max_body_size {size};\nclient_body_buffer_size {size};\n"
    (media_prefix / "etc/listen.conf").write_text(listen)
    command = [servers.program("nginx", "nginx"), "-p", str(media_prefix), "-c", "etc/nginx.conf", "-e", "stderr"]
    with servers.running([*command, "-g", "daemon off; user root;" if servers.AS_POSTGRES else "daemon off;"], port):
        yield port


@pytest.fixture
def store(media_port: int, settings: Any) -> MediaStore:
    """A client of the media store, which the site uses too."""
    from config.media import MediaStore

    url = f"http://127.0.0.1:{media_port}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "config.media.MediaStore", "OPTIONS": {"url": url}}}
    return MediaStore(url)


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    with bucket() as url:
        yield url


@pytest.fixture
def bucket_port(bucket_url: str, settings: Any) -> int:
    """The port of a bucket that the site uses."""
    from config.settings import parse_bucket

    uploads = {"BACKEND": "config.bucket.Bucket", "OPTIONS": parse_bucket(bucket_url)}
    settings.STORAGES = settings.STORAGES | {"default": uploads}
    return urlsplit(bucket_url).port or 0
