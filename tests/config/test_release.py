"""A release is the tree of a commit, and nothing else."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from deploy.core.console import Failed
from deploy.targets.hosts import commands
from deploy.targets.hosts.fleet import Fleet

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit. The tests may run where there is none."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "uv.lock").write_text("locked")
    (root / "code.py").write_text("committed = True\n")
    (root / "run").symlink_to("code.py")
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message=The first"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.setattr(commands, "PROJECT", root)
    return root


def test_a_release_has_the_commit_and_a_manifest(repository: Path, tmp_path: Path) -> None:
    (repository / "code.py").write_text("committed = False\n")
    (repository / "secret.txt").write_text("left lying about")
    made = commands.manifest("HEAD")
    with tarfile.open(commands.build(made, tmp_path)) as archive:
        assert sorted(archive.getnames()) == ["RELEASE.json.new", "code.py", "run", "uv.lock"]
        assert archive.getmember("run").issym()
        code, manifest = (archive.extractfile(name) for name in ("code.py", "RELEASE.json.new"))
        assert code
        assert manifest
        assert code.read() == b"committed = True\n"
        assert json.load(manifest) == made
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert made["commit"] == commit.stdout.strip()
    assert made["name"].endswith(f"-{made['commit'][:7]}")
    assert (made["ref"], made["subject"]) == ("HEAD", "The first")


@pytest.mark.parametrize("ref", ["no-such-branch", "--upload-pack=true", ""])
def test_a_ref_that_does_not_exist(repository: Path, ref: str) -> None:
    with pytest.raises(Failed, match="there is no such commit"):
        commands.manifest(ref)


def test_an_inventory_that_does_not_exist() -> None:
    with pytest.raises(Failed, match=r"INVENTORY is 'nowhere': .*one-vm"):
        Fleet("nowhere")
