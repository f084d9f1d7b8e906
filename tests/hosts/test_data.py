"""The data host: backup, restore, and a new host in its place."""

import shutil
import ssl
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.hosts.hosts import Host
from tests.hosts.shapes import FIVE_LONG
from tests.hosts.stack import HostsStack
from tests.hosts.test_hosts_lost import wait_until_whole

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
    """A wrong DELETE is undone, over live data only with FORCE, and a new data host gets everything from the bucket."""
    stack: HostsStack = request.getfixturevalue(shape)
    upload(stack)
    made = stack.make("backup")
    assert made.returncode == 0, made.stdout
    add_people(stack, 5)
    before = people(stack)
    drill = stack.make("restore-drill")
    assert drill.returncode == 0, drill.stdout
    assert "DIFFERENT" not in drill.stdout
    assert "public.accounts_user" in drill.stdout

    to = now()
    add_people(stack, 5)
    access = "stat --format='%n %A %U %G' /srv/app /srv/app/var /srv/app/var/media"
    accessible = data(stack).run(access).stdout
    data(stack).run(f"rm /srv/app/var/media/{PICTURE}")
    for arguments, words in (({}, "is live"), ({"TO": "2001-01-01"}, "the first backup is of")):
        refused = stack.make("restore", **arguments)
        assert refused.returncode != 0
        assert words in refused.stdout
    assert people(stack) == before + 5
    restored = stack.make("restore", FORCE="yes", TO=to)
    assert restored.returncode == 0, restored.stdout
    assert people(stack) == before
    assert picture(stack) == b"a picture"
    assert data(stack).run(access).stdout == accessible
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


CHECK = "tandem-backup@check"
OFTEN = {
    "timer": "[Timer]\nOnCalendar=*:*:*\nRandomizedDelaySec=0\nAccuracySec=1s\n",
    "service": "[Unit]\nStartLimitIntervalSec=0\n",
}


def test_no_check_fails_during_a_restore(hosts: HostsStack) -> None:
    """PostgreSQL stops in the middle of it."""
    host = data(hosts)
    assert hosts.make("backup").returncode == 0
    for kind, drop_in in OFTEN.items():
        directory = f"/run/systemd/system/{CHECK}.{kind}.d"
        host.run(f"mkdir -p {directory} && cat >{directory}/often.conf", input=drop_in)
    restart = f"systemctl daemon-reload && systemctl restart {CHECK}.timer"
    host.run(restart)
    try:
        began = host.run("date +%s").stdout.strip()
        restored = hosts.make("restore", FORCE="yes")
        log = host.run(f"journalctl --unit={CHECK} --since=@{began} --output=cat").stdout
        assert host.run(f"systemctl is-active {CHECK}.timer").stdout == "active\n"
    finally:
        host.run(f"rm /run/systemd/system/{CHECK}.*.d/often.conf && {restart}")
    assert restored.returncode == 0, restored.stdout
    assert "All backups are new enough" in log
    assert "Failed with result" not in log


def now() -> str:
    """Return this second, in UTC, when it is over."""
    moment = datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(2)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def test_a_backup_that_fails_is_seen(hosts: HostsStack) -> None:
    """So is a check that fails, in whose alert the age of the backups is."""
    host = data(hosts)
    host.run("mv /etc/data-backup /etc/data-backup.away")
    try:
        failed = hosts.make("backup")
        assert failed.returncode != 0
        assert "/etc/data-backup" in failed.stdout
        host.run("systemctl start tandem-backup@check", check=False)
        # Other tests make other services fail.
        wanted = {f"tandem-backup@{unit} failed" for unit in ("all", "check")}
        while wanted:
            said = hosts.alerts.get(timeout=60)["text"]
            wanted -= {each for each in wanted if each in said}
        assert "tandem-backup@all.service" in host.run("systemctl --failed").stdout
    finally:
        host.run("mv /etc/data-backup.away /etc/data-backup")
    assert hosts.make("backup").returncode == 0
    host.run("systemctl start tandem-backup@check")
    assert "tandem-backup@" not in host.run("systemctl --failed").stdout
    assert "archive 20" in hosts.make("fleet").stdout


def test_provision_stops_with_a_wrong_password(hosts: HostsStack) -> None:
    """The archive goes on with the settings from before."""
    file = Path(hosts.environment["INVENTORY"]) / "group_vars/all/secrets.yml"
    own = file.read_text()
    hosts.add_secret("BACKUP_PASSWORD", "another-password-of-these")
    try:
        refused = hosts.make("provision")
    finally:
        file.write_text(own)
    assert refused.returncode != 0
    assert "BACKUP_PASSWORD does not open the backups in BACKUP_URL" in refused.stdout
    data(hosts).run("cd / && pgbackrest --stanza=main check", user="postgres")
    data(hosts).run("rm /etc/pgbackrest/pgbackrest.conf.new")
