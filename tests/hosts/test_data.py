"""The data host: backup, restore, and a new host in its place."""

import shutil
import ssl
import urllib.error
import urllib.request

import pytest

from tests.hosts.hosts import Host
from tests.hosts.shapes import FIVE_LONG
from tests.hosts.stack import HostsStack
from tests.hosts.test_hosts_lost import wait_until_whole
from tests.webhook import webhook

PICTURE = "pictures/of-these-tests.webp"


def data(stack: HostsStack) -> Host:
    return stack.on("data")[0]


def people(stack: HostsStack) -> int:
    count = "SELECT count(*) FROM accounts_user"
    counted = f"psql --no-psqlrc -At --dbname=tandem --command='{count}'"
    return int(data(stack).run(f"cd / && {counted}", user="postgres").stdout)


def add_people(stack: HostsStack, how_many: int) -> None:
    stack.manage(
        "shell",
        "--no-imports",
        "--command",
        "from accounts.models import User; from uuid import uuid4; "
        f"User.objects.bulk_create(User(username=uuid4().hex) for _ in range({how_many}))",
    )


def picture(stack: HostsStack) -> bytes:
    """Return the picture as clients get it; empty if there is none."""
    anyone = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(f"https://{stack.authority}/media/{PICTURE}", context=anyone, timeout=10) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError:
        return b""


def upload(stack: HostsStack) -> None:
    stack.manage(
        "shell",
        "--no-imports",
        "--command",
        "from django.core.files.base import ContentFile; from django.core.files.storage import default_storage; "
        f"assert default_storage.save('{PICTURE}', ContentFile(b'a picture')) == '{PICTURE}'",
    )


@pytest.mark.parametrize("shape", ["hosts", FIVE_LONG])
def test_backup_and_restore(shape: str, request: pytest.FixtureRequest) -> None:
    """The newest backup brings everything back, over live data only with FORCE, and on a new data host."""
    stack: HostsStack = request.getfixturevalue(shape)
    upload(stack)
    before = people(stack)
    made = stack.make("backup")
    assert made.returncode == 0, made.stdout
    drill = stack.make("restore-drill")
    assert drill.returncode == 0, drill.stdout
    assert "DIFFERENT" not in drill.stdout
    assert "public.accounts_user" in drill.stdout

    add_people(stack, 5)
    data(stack).run(f"rm /srv/app/var/media/{PICTURE}")
    refused = stack.make("restore")
    assert refused.returncode != 0
    assert "is live" in refused.stdout
    assert people(stack) == before + 5
    restored = stack.make("restore", FORCE="yes")
    assert restored.returncode == 0, restored.stdout
    assert people(stack) == before
    assert picture(stack) == b"a picture"
    wait_until_whole(stack)

    if shape == "five":
        host = data(stack)
        host.power_off()
        shutil.rmtree(host.directory)
        host.make()
        host.power_on()
        for target in ("provision", "restore", "deploy"):
            done = stack.make(target)
            assert done.returncode == 0, done.stdout
        assert people(stack) == before
        assert picture(stack) == b"a picture"
        wait_until_whole(stack)


def test_a_backup_that_fails_is_seen(hosts: HostsStack) -> None:
    host = data(hosts)
    host.run("mv /srv/app/var/media /srv/app/var/media.away")
    try:
        with webhook(hosts.alert_port) as received:
            failed = hosts.make("backup")
            assert failed.returncode != 0
            assert "media" in failed.stdout
            assert "backup failed" in received.get(timeout=60)["text"]
        assert "tandem-backup.service" in host.run("systemctl --failed").stdout
    finally:
        host.run("mv /srv/app/var/media.away /srv/app/var/media")
    assert hosts.make("backup").returncode == 0
    assert "tandem-backup.service" not in host.run("systemctl --failed").stdout
