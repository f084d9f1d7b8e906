"""The data host: backups of it, the way back, and a fresh host in its place."""

import shutil
import ssl
import urllib.error
import urllib.request

import pytest

from tests.hosts.hosts import Host
from tests.hosts.stack import FIVE_LONG, VmStack
from tests.hosts.test_hosts_lost import back

PICTURE = "pictures/of-these-tests.webp"


def data(stack: VmStack) -> Host:
    return stack.on("data")[0]


def people(stack: VmStack) -> int:
    counted = "psql --no-psqlrc -At --dbname=tandem --command='SELECT count(*) FROM auth_user'"
    return int(data(stack).run(f"cd / && {counted}", user="postgres").stdout)


def add_people(stack: VmStack, how_many: int) -> None:
    stack.manage(
        "shell",
        "--no-imports",
        "--command",
        "from django.contrib.auth.models import User; from uuid import uuid4; "
        f"User.objects.bulk_create(User(username=uuid4().hex) for _ in range({how_many}))",
    )


def picture(stack: VmStack) -> bytes:
    """As the world gets it; empty when it is not there."""
    anyone = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(f"https://{stack.authority}/media/{PICTURE}", context=anyone, timeout=10) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError:
        return b""


def upload(stack: VmStack) -> None:
    stack.manage(
        "shell",
        "--no-imports",
        "--command",
        "from django.core.files.base import ContentFile; from django.core.files.storage import default_storage; "
        f"assert default_storage.save('{PICTURE}', ContentFile(b'a picture')) == '{PICTURE}'",
    )


@pytest.mark.parametrize("shape", ["vm", FIVE_LONG])
def test_there_and_back(shape: str, request: pytest.FixtureRequest) -> None:
    """The newest backup gives all back; over what is live only when told to; and on a data host that is new."""
    stack: VmStack = request.getfixturevalue(shape)
    upload(stack)
    before = people(stack)
    made = stack.make("backup")
    assert made.returncode == 0, made.stdout
    drill = stack.make("restore-drill")
    assert drill.returncode == 0, drill.stdout
    assert "DIFFERENT" not in drill.stdout
    assert "public.auth_user" in drill.stdout

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
    back(stack)

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
        back(stack)


def test_a_backup_that_fails_is_seen(vm: VmStack) -> None:
    host = data(vm)
    host.run("mv /srv/app/var/media /srv/app/var/media.away")
    try:
        failed = vm.make("backup")
        assert failed.returncode != 0
        assert "media" in failed.stdout
        assert "tandem-backup.service" in host.run("systemctl --failed").stdout
    finally:
        host.run("mv /srv/app/var/media.away /srv/app/var/media")
    assert vm.make("backup").returncode == 0
    assert "tandem-backup.service" not in host.run("systemctl --failed").stdout
