"""Uploads in a bucket (S3_URL), from the stack in containers."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.site.media import buckets
from tests.stacks import ComposeStack, docker, outside, running

STORE = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
print(default_storage.save("pictures/one.webp", ContentFile(b"content")))
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    # The address of this machine in the containers' network.
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with outside(), buckets.bucket(gateway) as url:
        yield url


def test_an_upload_is_in_the_bucket(url: str) -> None:
    with running(ComposeStack, {"S3_URL": url, "CPUS": "1"}) as stack:
        name = stack.manage("shell", "--verbosity=0", "-c", STORE).strip()
        with stack.client() as client:
            found = [client.get(f"/media/{name}") for _ in range(2)]
        networks = {service: set(each["NetworkSettings"]["Networks"]) for service, each in stack.containers().items()}
        assert name in buckets.names(urlsplit(url).port or 0, urlsplit(url).hostname or "")
        assert [(each.status_code, each.content, each.headers["X-Cache"]) for each in found] == [
            (200, b"content", "MISS"),
            (200, b"content", "HIT"),
        ]
        # Only the site needs a way out.
        assert networks["site-a"] == {f"{stack.name}_data", f"{stack.name}_out"}
        assert networks["api-a"] == networks["postgres"] == {f"{stack.name}_data"}
        assert "sec%2Fret" not in f"{stack.containers()['site-a']['Config']['Env']}"
