"""S3-compatible storage for tests: moto's server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import boto3

from tests import servers
from tests.environment import PROJECT

# With characters that a URL has to quote.
KEY, SECRET = "key", "sec/ret+"
NAME = "uploads"


@contextmanager
def bucket(address: str = "127.0.0.1", *options: str) -> Iterator[str]:
    """A private bucket on a server of its own. Yields its S3_URL. `options` are moto_server's."""
    port = servers.free_port()
    command = [str(PROJECT / ".venv/bin/moto_server"), "--host", address, "--port", str(port), *options]
    with servers.running(command, port):
        scheme = "https" if options else "http"
        create(port, scheme)
        yield f"{scheme}://{KEY}:{quote(SECRET, safe='')}@{address}:{port}/{NAME}"


def create(port: int, scheme: str = "http") -> None:
    """Create the bucket, also after a restart: moto's server has it in memory."""
    client(port, scheme).create_bucket(Bucket=NAME)


def client(port: int, scheme: str = "http") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"{scheme}://127.0.0.1:{port}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        verify=False,
    )


def names(port: int) -> set[str]:
    """Return the names of all objects."""
    return {each["Key"] for each in client(port).list_objects_v2(Bucket=NAME).get("Contents", [])}
