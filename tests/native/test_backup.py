"""Backup, restore and drill of the stack on this machine: SQLite and PostgreSQL, to a bucket over TLS."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.backup_bucket import Bucket, backup_bucket
from tests.servers import postgresql, program
from tests.stacks import NativeStack, directory, running

PASSWORD = "password-of-these-tests"
COUNT = "from accounts.models import User; print(User.objects.count())"
ADD = "from accounts.models import User; from uuid import uuid4; User.objects.create(username=uuid4().hex)"
DELETE = "from accounts.models import User; User.objects.all().delete()"
PICTURE = "media/pictures/of-these-tests.webp"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    program("restic", "restic")
    with directory() as files, backup_bucket(files) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, bucket: Bucket) -> Iterator[NativeStack]:
    own = {"BACKUP_URL": f"{bucket.url}/{request.param}", "BACKUP_PASSWORD": PASSWORD, "CA_FILE": str(bucket.authority)}
    own |= {"CORES": "1"}
    if request.param == "sqlite":
        with running(NativeStack, own | {"DATABASE_URL": "", "REDIS_URL": ""}) as made:
            yield made
        return
    with postgresql() as superuser:
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE shop LOGIN CREATEDB PASSWORD 'sec/ret'")
            connection.execute("CREATE DATABASE shop OWNER shop")
        where = superuser.rpartition("@")[2].rpartition("/")[0]
        with running(NativeStack, own | {"DATABASE_URL": f"postgresql://shop:sec%2Fret@{where}/shop"}) as made:
            yield made


def people(stack: NativeStack) -> int:
    return int(stack.manage("shell", "--no-imports", "--command", COUNT).split()[-1])


def change(stack: NativeStack, program: str) -> None:
    stack.manage("shell", "--no-imports", "--command", program)


def make(stack: NativeStack, target: str, fails: bool = False, **variables: str) -> str:
    done = stack.make(target, **variables)
    assert bool(done.returncode) == fails, done.stdout
    return done.stdout


def test_backup_and_restore(stack: NativeStack, bucket: Bucket) -> None:
    assert "has no backups that can be read" in make(stack, "restore", fails=True, FORCE="yes")
    picture = stack.var / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"a picture")
    for _ in range(3):
        change(stack, ADD)
    before = people(stack)
    assert "Backup of 20" in make(stack, "backup")
    change(stack, DELETE)
    picture.unlink()
    # The newest backup is not always the one that is wanted. TO has whole seconds, so the newest needs a later one.
    to = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    time.sleep(1)
    make(stack, "backup")
    assert "accounts_user" in make(stack, "restore-drill")

    pids = stack.pids()
    change(stack, ADD)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d %H:%M}"
    for variables, words in (
        ({}, "FORCE=yes replaces them"),
        ({"TO": "yesterday", "FORCE": "yes"}, "should be a time in UTC"),
        ({"TO": tomorrow, "FORCE": "yes"}, "should be in the past"),
        ({"TO": "2001-01-01", "FORCE": "yes"}, "the first backup is of 20"),
        ({"FROM": "elsewhere:/var", "FORCE": "yes"}, "has no backup of elsewhere:/var"),
        ({"BACKUP_PASSWORD": "another-password-of-these", "FORCE": "yes"}, "BACKUP_PASSWORD does not open"),
        ({"BACKUP_URL": "s3://bucket", "FORCE": "yes"}, "BACKUP_URL should be s3://"),
    ):
        assert words in make(stack, "restore", fails=True, **variables)
    assert people(stack) == 1
    assert stack.pids() == pids, "nothing has stopped"

    make(stack, "restore", TO=to, FORCE="yes")
    assert people(stack) == before
    assert picture.read_bytes() == b"a picture"
    with stack.client() as client:
        assert client.get("/").status_code == 200
    make(stack, "restore", FORCE="yes")
    # The start makes an administrator where there is nobody.
    assert people(stack) <= 1 < before
    assert picture.exists(), "others stay"


def test_another_stack_is_restored_by_its_name(bucket: Bucket) -> None:
    own = {
        "BACKUP_URL": f"{bucket.url}/two",
        "BACKUP_PASSWORD": PASSWORD,
        "CA_FILE": str(bucket.authority),
        "CORES": "1",
    }
    own |= {"DATABASE_URL": "", "REDIS_URL": ""}
    with running(NativeStack, own) as one:
        change(one, ADD)
        before = people(one)
        make(one, "backup")
        name = one.var
    with running(NativeStack, own) as two:
        refused = make(two, "restore", fails=True, FORCE="yes")
        assert "has no backup of " in refused
        origin = refused.partition("FROM=")[2].split()[0]
        assert origin.endswith(f":{name}")
        make(two, "restore", FROM=origin, FORCE="yes")
        assert people(two) == before


def test_a_dump_that_fails_makes_no_backup(stack: NativeStack, tmp_path: Path) -> None:
    """A tar that ends early gives restic no end either."""
    media = stack.var / "media"
    media.rename(tmp_path / "media")
    try:
        make(stack, "backup", fails=True)
    finally:
        (tmp_path / "media").rename(media)
    assert "has no backup of" in make(stack, "restore", fails=True, FORCE="yes")
