"""S3-compatible storage for tests: moto's server."""

import socket
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
def bucket(address: str = "127.0.0.1") -> Iterator[str]:
    """A private bucket on a server of its own. Yields its S3_URL."""
    port = servers.free_port()
    command = [str(PROJECT / ".venv/bin/moto_server"), "--host", address, "--port", str(port)]
    with servers.running(command, port, connect=lambda port: socket.create_connection((address, port), 1).close()):
        create(port, address)
        yield f"http://{KEY}:{quote(SECRET, safe='')}@{address}:{port}/{NAME}"


def create(port: int, address: str = "127.0.0.1") -> None:
    """Create the bucket. After a restart of moto's server it is gone, because it is in memory."""
    client(port, address).create_bucket(Bucket=NAME)


def client(port: int, address: str = "127.0.0.1") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}:{port}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )


def names(port: int, address: str = "127.0.0.1") -> set[str]:
    """Return the names of all objects."""
    return {each["Key"] for each in client(port, address).list_objects_v2(Bucket=NAME).get("Contents", [])}
