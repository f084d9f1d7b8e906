"""Commands for hosts, as far as they can be tried without hosts: the previous release, backups, connections."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.core import probe
from deploy.core.apps import PROJECT
from deploy.core.console import Failed
from deploy.targets.hosts import commands, releases, system
from deploy.targets.hosts.fleet import CONNECTION, UNSUPPORTED, Fleet

# By their names, R2 is the newest and R1 the oldest. They were made in the order R1, R2, R3.
R1, R2, R3 = "20260101T000000-1111111", "20260103T000000-2222222", "20260102T000000-3333333"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directories of a host without a release."""
    for module in (system, releases):
        for name, path in (("RELEASES", "releases"), ("CURRENT", "current"), ("HISTORY", "history")):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / path)
    monkeypatch.setattr(releases, "remove_unregistered", list)
    (tmp_path / "releases").mkdir()
    return tmp_path


def add(host: Path, name: str) -> None:
    """Deploy a release."""
    (host / "releases" / name).mkdir()
    (host / "releases" / name / "RELEASE.json").write_text(json.dumps({"name": name}))
    releases.switch(name)


def previous(host: Path, name: str = "") -> str:
    """Return what `make rollback` chooses. Commands on the host run here."""

    def ask(_: str, command: str) -> str:
        here = command.replace("/srv/app", str(host))
        return subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=True).stdout

    fleet = SimpleNamespace(app_hosts=["web"], ask=ask)
    return commands.choose_release(fleet, name, system.current())  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_previous_release_is_the_one_that_was_current(host: Path) -> None:
    add(host, R1)
    with pytest.raises(Failed, match="no release from before"):
        previous(host)
    add(host, R2)
    assert previous(host) == R1
    releases.switch(R1)
    add(host, R3)
    # Not R2, which was bad, nor the one with the name before.
    assert previous(host) == R1
    releases.switch(R1)
    with pytest.raises(Failed, match="no release from before"):
        previous(host)
    assert previous(host, R2) == R2
    releases.switch(R2)
    assert previous(host) == R1


def test_a_host_of_an_older_version_knows_when_releases_were_made(host: Path) -> None:
    for name in (R1, R2, R3):
        add(host, name)
    (host / "history").unlink()
    assert previous(host) == R2
    add(host, "20250101T000000-4444444")
    assert system.history() == [R3, "20250101T000000-4444444"]


def test_old_releases_are_those_that_were_made_first(host: Path) -> None:
    for name in (R1, R2, R3):
        add(host, name)
    assert [each["name"] for each in releases.releases()] == [R1, R2, R3]
    releases.prune("1")
    assert {path.name for path in (host / "releases").iterdir()} == {R2, R3}, "the current and the previous one"


def fleet(directory: Path, **variables: Any) -> Fleet:
    """An inventory of one host, without Ansible."""
    made = Fleet.__new__(Fleet)
    directory.mkdir(parents=True, exist_ok=True)
    made.path = made.directory = directory
    made.password = directory / ".vault-password"
    made.hosts, made.variables = ["web"], {"web": variables}
    return made


@pytest.mark.parametrize("name", CONNECTION)
def test_a_template_in_a_variable_of_the_connection(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match=rf"^web: {name} is '{{{{ login }}}}': write the value itself"):
        fleet(tmp_path, **{name: "{{ login }}"}).check_connections()
    fleet(tmp_path, **{name: "plain"}).check_connections()


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_variable_that_only_playbooks_follow(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match=f"web: {name} is not supported: connect by ssh with a key"):
        fleet(tmp_path, **{name: "x"}).check_connections()


def test_every_variable_of_the_connection_is_used(tmp_path: Path) -> None:
    values = {name: "7" if name == "ansible_port" else f"-o{name}" for name in CONNECTION}
    words = fleet(tmp_path, **values).ssh("web", "true")
    assert set(values.values()) <= set(words)


def test_a_missing_password_of_the_vault_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)
    made = fleet(tmp_path)
    assert made.vaulted_file() == ""
    secrets = tmp_path / "group_vars/all/secrets.yml"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("$ANSIBLE_VAULT;1.1;AES256\n33\n")
    assert made.vaulted_file() == str(secrets)
    with pytest.raises(Failed, match=rf"its password is missing: put it into {made.password}"):
        Fleet(str(tmp_path))
    made.password.touch()
    assert made.vaulted_file() == ""


@pytest.mark.slow
def test_a_commit_with_what_each_machine_makes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PROJECT", tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "core.hooksPath=/dev/null"]
    (tmp_path / ".venv").symlink_to("/somewhere")
    (tmp_path / "uv.lock").touch()
    for words in (["init", "--quiet"], ["add", "--force", "--all"], ["commit", "--quiet", "-m", "Work"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    with pytest.raises(Failed, match=r"The commit has \.venv, .*git rm -r --cached \.venv"):
        commands.build(commands.manifest("HEAD"), tmp_path)


def test_git_is_the_one_of_this_project(tmp_path: Path) -> None:
    """As in a git hook, which has GIT_DIR."""
    from deploy.core.environment import chosen

    inside = chosen(os.environ | {"GIT_DIR": str(tmp_path), "GIT_WORK_TREE": str(tmp_path)})
    command = ["git", "rev-parse", "--show-toplevel"]
    said = subprocess.run(command, cwd=PROJECT, env=inside, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(PROJECT)


def test_what_root_makes_for_nginx_is_open_to_it(tmp_path: Path) -> None:
    """A session of root's may have umask 027, by pam_umask, or 077."""
    before = os.umask(0o077)
    try:
        probe.put_in_rotation(tmp_path, "site-a")
    finally:
        os.umask(before)
    assert (tmp_path / "upstream").stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
@pytest.mark.parametrize("umask", ["022", "027", "077"])
def test_the_umask_of_roots_session_does_not_count_on_a_host(umask: str) -> None:
    code = "import os; from deploy.targets.hosts import host; host.read_environment = lambda: print(os.umask(0)); "
    command = f'umask {umask}; exec .venv/bin/python -c "{code}host.main(0)"'
    done = subprocess.run(["sh", "-c", command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0] == "18"
