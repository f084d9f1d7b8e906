"""Root's commands on the stack of an ordinary user, and commands of a user who may write nowhere else."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.processes import processes
from deploy.core.supervisor import processes_of
from tests.stacks import NativeStack, copied

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
# Not nobody: `nginx -t` as root gives files to that user.
USER = pwd.getpwnam("daemon")
AS_USER = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]


class UsersStack(NativeStack):
    """A stack in a clone of an ordinary user. Its home does not exist, which an environment may bring too."""

    def as_user(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment | {"HOME": "/nonexistent"} | variables
        command = [*AS_USER, "make", "--no-print-directory", target]
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def files(self) -> dict[str, int]:
        """Return the owner of each file of the clone and of the stack, but those that running services make."""
        found = {str(path): path.lstat().st_uid for path in self.var.parent.rglob("*")}
        return {path: user for path, user in found.items() if not path.endswith(("-wal", "-shm"))}

    def users(self) -> set[int]:
        return {Path(f"/proc/{process.pid}").stat().st_uid for process in processes_of(self.var)}

    def serves(self) -> bool:
        with self.client() as client:
            return all(client.get(app.prefix).status_code == 200 for app in APPS.values() if app.prefix)


@pytest.fixture(scope="module")
def stack() -> Iterator[UsersStack]:
    with copied() as project:
        for path in [project.parent, *project.parent.rglob("*")]:
            os.chown(path, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
        stack = UsersStack(project.parent, project=project)
        # PIP_USER, DJANGO_SETTINGS_MODULE and the others are in test_environment.py.
        done = stack.as_user("up", DJANGO_SETTINGS_MODULE="mysite.settings", PYTHONPATH="/nonexistent", PGUSER="x")
        try:
            assert done.returncode == 0, done.stdout + done.stderr
            yield stack
        finally:
            stack.down()
            assert set(stack.files().values()) == {USER.pw_uid}


@pytest.mark.parametrize("target", ["status", "doctor", "logs"])
def test_roots_look_changes_nothing(stack: UsersStack, target: str) -> None:
    before = stack.files()
    command = ["timeout", "--signal=INT", "4" if target == "logs" else "60", "make", "--no-print-directory", target]
    done = subprocess.run(
        command, cwd=stack.project, env=stack.environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    if target != "logs":
        assert done.returncode == 0, done.stdout
        assert done.stdout.count(" ready") >= (1 + len(INSTANCES) if target == "status" else 1)
    assert stack.files() == before
    assert stack.serves()
    assert stack.as_user("status").returncode == 0


def test_roots_changes_are_those_of_the_owner(stack: UsersStack) -> None:
    owner = stack.users()
    assert stack.up().count("Already up to date") == 1
    for target, variables in (("restart", {"APP": [*APPS][-1]}), ("down", {}), ("up", {})):
        done = stack.make(target, **variables)
        assert done.returncode == 0, done.stdout
        assert "Nothing was running" not in done.stdout
    assert stack.users() == owner
    assert set(stack.files().values()) == owner
    assert stack.serves()
    assert stack.as_user("restart", APP=next(iter(APPS))).returncode == 0


@pytest.mark.skipif(not django(), reason="no app has a manage.py")
def test_arguments_with_quotes_reach_manage(stack: UsersStack) -> None:
    """`make manage ARGS='shell -c "print(1)"'`, as root and as the owner."""
    arguments = """shell -v 0 -c "print('a  b', 1 + 1)" """
    for done in (stack.make("manage", ARGS=arguments), stack.as_user("manage", ARGS=arguments)):
        assert (done.returncode, done.stdout) == (0, "a  b 2\n"), done.stderr
    done = stack.make("manage", ARGS="shell -c 'x")
    assert 'ARGS is "shell -c \'x": No closing quotation' in done.stdout


@pytest.mark.skipif(not django(), reason="no app has a manage.py")
def test_a_migration_that_root_makes_is_the_owners(stack: UsersStack) -> None:
    directory = next(stack.project.glob("*/*/migrations"))
    done = stack.make("manage", ARGS=f"makemigrations --empty --name of_root {directory.parent.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = directory.glob("*_of_root.py")
    assert (made.stat().st_uid, made.stat().st_mode & 0o444) == (USER.pw_uid, 0o444)
    assert set(stack.files().values()) == {USER.pw_uid}
    done = stack.as_user("up")
    assert (done.returncode, stack.serves()) == (0, True), done.stdout
    done = stack.as_user("manage", ARGS="showmigrations")
    assert f"[X] {made.stem}\n" in done.stdout
    made.unlink()


def test_nginx_t_of_root_is_found_and_healed(stack: UsersStack) -> None:
    command = ["nginx", "-t", "-q", "-p", str(stack.var), "-c", f"{stack.var}/nginx/nginx.conf", "-e", "stderr"]
    subprocess.run(command, check=True, capture_output=True)
    said = stack.as_user("doctor").stdout
    assert "uploads fail\n    make up\n" in said
    done = stack.as_user("up")
    assert done.returncode == 0, done.stdout
    assert len({path.lstat().st_uid for path in (stack.var / "tmp").iterdir()}) == 1
    assert "uploads fail" not in stack.as_user("doctor").stdout
    with stack.client() as client:
        # More than nginx keeps in memory.
        assert client.post("/", content=b"x" * 1_000_000).status_code < 500


def test_what_a_killed_supervisord_left_is_found(stack: UsersStack) -> None:
    left = {process for process in processes_of(stack.var) if process.name != "supervisord"}
    os.kill(int((stack.var / "supervisor/supervisord.pid").read_text()), 9)
    assert "left" in stack.make("status").stdout
    done = stack.as_user("up")
    assert done.returncode == 0, done.stdout
    assert not left & set(processes())
    assert stack.serves()


def test_a_project_that_the_stacks_user_may_not_read(tmp_path: Path) -> None:
    """umask 077 when root cloned it. Nothing is made."""
    with copied() as project:
        stack = NativeStack(tmp_path, project=project)
        project.chmod(0o700)
        done = stack.make("up")
        assert done.returncode
        assert f"runs as www-data, which may not read {project}.\nAs root: chmod -R go+rX {project}\n" in done.stdout
        assert not list(tmp_path.iterdir())
