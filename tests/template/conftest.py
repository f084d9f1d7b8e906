"""A clone of this repository, with what is in the working tree committed, from which projects are made."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import MAKE, PROJECT, SETTINGS, directory

WHO = {f"GIT_{role}_{what}": "somebody@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# Of this pytest's own, and of a make above it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in SETTINGS | MAKE} | WHO

# What the older version has otherwise: an improvement since is this edit, taken back.
OLDER = {
    "nginx/nginx.conf": ("keepalive_timeout 65s;", "keepalive_timeout 75s;"),
    "deploy/supervisor/supervisord.conf": ("logfile_backups = 2", "logfile_backups = 1"),
}
SINCE = "deploy/systemd/logrotate.conf"


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """stdout has what it wrote to stderr too."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=3600,
    )


def output(folder: Path, *command: str) -> str:
    done = run(folder, *command)
    assert done.returncode == 0, done.stdout
    return done.stdout


def make(folder: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "make", "--no-print-directory", *targets, **variables)


def made(template: Path, folder: Path, keep: str) -> Path:
    """A project of an awkward name: words, capitals, a digit, and as long as one may be."""
    answers = {
        "NAME": "My Awkward Shop Of 2 Capitals",
        "FOLDER": str(folder),
        "DOMAIN": "shop.example.com",
        "KEEP": keep,
    }
    done = make(template, "new", **answers)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """It has two versions, of which the newer, v0.2.0, is the working tree."""
    with directory() as files:
        clone = files / "template"
        clone.mkdir()
        listing = output(PROJECT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        for file in filter(lambda file: PROJECT.joinpath(file).is_file(), listing.split("\0")[:-1]):
            clone.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / file, clone / file, follow_symlinks=False)
        output(clone, "git", "init", "--quiet", "--initial-branch=main")
        # Its packages are those of the tests.
        clone.joinpath(".git/info/exclude").write_text("/.venv\n")
        clone.joinpath(".venv").symlink_to(PROJECT / ".venv")
        newer = {file: clone.joinpath(file).read_text() for file in (*OLDER, SINCE)}
        for file, (new, old) in OLDER.items():
            assert new in newer[file]
            clone.joinpath(file).write_text(newer[file].replace(new, old))
        clone.joinpath(SINCE).unlink()
        commit(clone, "v0.1.0")
        for file, text in newer.items():
            clone.joinpath(file).write_text(text)
        commit(clone, "v0.2.0")
        yield clone


def commit(folder: Path, tag: str = "") -> None:
    output(folder, "git", "add", "--all")
    output(folder, "git", "commit", "--quiet", f"--message={tag or 'Work'}")
    if tag:
        output(folder, "git", "tag", tag)
