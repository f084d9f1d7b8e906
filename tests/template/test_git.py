"""`make new` with the git configuration of people: hooks that fail, signatures, line ends, ignored files."""

import shutil
from pathlib import Path

from tests.template.conftest import make, output

CONFIG = """
[core]
hooksPath = {0}/hooks
excludesFile = {0}/ignored
autocrlf = true
[commit]
gpgSign = true
template = {0}/none
[init]
defaultBranch = trunk
"""
ANSWERS = {"NAME": "Corner Shop", "DOMAIN": "shop.example.com", "APPS": "site", "SAMPLE": "none"}


def test_nothing_of_the_callers_git_is_in_the_way(template: Path, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    for name in ("pre-commit", "commit-msg", "post-checkout", "pre-merge-commit", "reference-transaction"):
        hook = tmp_path / "hooks" / name
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    (tmp_path / "ignored").write_text("*.toml\n*.py\ndeploy\n")
    (tmp_path / ".gitconfig").write_text(CONFIG.format(tmp_path))
    project = tmp_path / "shop"
    variables = {"HOME": str(tmp_path), "GIT_DIR": "/nonexistent", "GIT_INDEX_FILE": "/nonexistent"}
    done = make(template, "new", FOLDER=str(project), **ANSWERS, **variables)
    assert done.returncode == 0, done.stdout
    assert output(project, "git", "rev-list", "--count", "HEAD") == "1\n"
    assert output(project, "git", "status", "--porcelain") == ""
    files = output(project, "git", "ls-files").split()
    assert {"pyproject.toml", "deploy/cli.py"} <= set(files)
    assert b"\r" not in (project / "deploy/supervisor/nginx.sh").read_bytes()


def test_an_archive_without_a_history_says_what_to_do(template: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(template, archive, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    done = make(archive, "new", FOLDER=str(tmp_path / "shop"), **ANSWERS)
    assert done.returncode
    assert f"{archive} has no history" in done.stdout
    assert "Clone the repository with git" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_folder_that_make_up_would_refuse(template: Path, tmp_path: Path) -> None:
    done = make(template, "new", FOLDER=str(tmp_path / "my shop"), **ANSWERS)
    assert done.returncode
    assert "FOLDER is " in done.stdout
    assert "letters, digits" in done.stdout
    assert not (tmp_path / "my shop").exists()
