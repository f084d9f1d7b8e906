"""S3-compatible storage over TLS for the tests of backups: moto's server, which gunicorn serves.

gunicorn runs it as `tests.backup_bucket:application()`. pgBackRest connects by TLS alone, and needs connections that
end as TLS demands, which moto's own server does not do.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests import servers
from tests.environment import PROJECT

# With characters that a URL has to quote.
KEY, SECRET, NAME = "key", "sec/ret+", "backups"


class Bucket(NamedTuple):
    """`url` is BACKUP_URL without a prefix, and `authority` the file to trust."""

    url: str
    authority: Path
    port: int


def application() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


def client(bucket: Bucket) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=bucket.url.partition(f"/{NAME}")[0].replace(f"s3://{KEY}:{quote(SECRET, safe='')}@", "https://"),
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        verify=str(bucket.authority),
    )


@contextmanager
def backup_bucket(directory: Path, address: str = "127.0.0.1") -> Iterator[Bucket]:
    """An empty bucket on a server of its own, whose certificate is in `directory`."""
    port = servers.free_port()
    key, certificate = directory / "bucket-key.pem", directory / "bucket.pem"
    # pgBackRest compares the address with names only, and restic with addresses.
    names = f"subjectAltName=DNS:{address},IP:{address}"
    made = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=bucket",
    ]
    made += ["-addext", names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([servers.program("openssl", "openssl"), *made], check=True, capture_output=True)
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--bind",
        f"{address}:{port}",
        "--worker-class=gthread",
        "--threads=16",
    ]
    command += ["--chdir", str(PROJECT), "--keep-alive=60", "--timeout=120", "--log-level=error"]
    command += [f"--certfile={certificate}", f"--keyfile={key}", "tests.backup_bucket:application()"]
    with servers.running(command, port, connect=lambda port: socket.create_connection((address, port), 1).close()):
        bucket = Bucket(f"s3://{KEY}:{quote(SECRET, safe='')}@{address}:{port}/{NAME}", certificate, port)
        client(bucket).create_bucket(Bucket=NAME)
        yield bucket
