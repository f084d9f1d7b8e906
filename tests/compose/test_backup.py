"""Backup, restore and drill of the stack in containers, to a directory of this machine."""

from pathlib import Path

from tests.servers import program
from tests.stacks import ComposeStack, running

COUNT = "from accounts.models import User; print(User.objects.count())"
DELETE = "from accounts.models import User; User.objects.all().delete()"
STORE = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
print(default_storage.save("pictures/of-these-tests.webp", ContentFile(b"a picture")))
"""


def test_backup_and_restore(tmp_path: Path) -> None:
    program("restic", "restic")
    own = {"BACKUP_URL": f"file://{tmp_path}", "BACKUP_PASSWORD": "password-of-these-tests", "CPUS": "1"}
    with running(ComposeStack, own) as stack:

        def shell(command: str) -> str:
            return stack.manage("shell", "--verbosity=0", "-c", command).strip()

        def make(target: str, fails: bool = False, **variables: str) -> str:
            done = stack.make(target, **variables)
            assert bool(done.returncode) == fails, done.stdout
            return done.stdout

        name, before = shell(STORE), shell(COUNT)
        assert "Backup of 20" in make("backup")
        assert "public.accounts_user" in make("restore-drill")
        shell(DELETE)
        stack.run("site-a", "rm", f"/srv/app/var/media/{name}")
        postgres = stack.container("postgres")["Id"]
        assert "FORCE=yes replaces them" in make("restore", fails=True)
        assert "should be a time in UTC" in make("restore", fails=True, TO="yesterday", FORCE="yes")
        make("restore", FORCE="yes")
        assert shell(COUNT) == before != "0"
        with stack.client() as client:
            assert client.get(f"/media/{name}").content == b"a picture"
        assert stack.container("postgres")["Id"] == postgres
