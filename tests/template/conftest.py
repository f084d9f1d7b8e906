"""A copy of this repository, with the working tree committed, and the projects that `make new` makes from it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stacks import directory
from tests.template.edits import EDITS

PROJECT = Path(__file__).resolve().parents[2]
AUTHOR = {f"GIT_{role}_{what}": "somebody@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# Variables of this pytest and of a make above it, which the commands under test must not inherit.
OWN = re.compile(
    r"MAKE\w*|MFLAGS|PYTEST\w*|DJANGO_SETTINGS_MODULE|VAR_DIR|ENV_FILE|[A-Z_]+_(URL|KEY|KEYS)|ALLOWED_HOSTS|INSTANCE|APP"
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not OWN.fullmatch(name)} | AUTHOR

COMBINATIONS = [(apps, sample) for apps in ("site,api", "site", "api") for sample in ("polls", "none")]
# Words, capitals and a digit.
NAME = "My Shop Of 2 Capitals"

# Improvements that the older version of the template does not have: each edit, taken back.
OLDER = {
    "nginx/nginx.conf": ("keepalive_timeout 65s;", "keepalive_timeout 75s;"),
    "deploy/supervisor/supervisord.conf": ("logfile_backups = 2", "logfile_backups = 1"),
}
NEW_FILE = "deploy/systemd/logrotate.conf"

Make = Callable[[str, str], Path]


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command. Its stdout includes its stderr."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )


def output(folder: Path, *command: str, **variables: str) -> str:
    done = run(folder, *command, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def make(folder: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "make", "--no-print-directory", *targets, **variables)


def new(template: Path, folder: Path, apps: str = "site,api", sample: str = "none", proof: str = "no") -> Path:
    """Make a project, which uses the packages of these tests."""
    answers = {"NAME": NAME, "DOMAIN": "shop.example.com", "APPS": apps, "SAMPLE": sample, "PROOF": proof}
    done = make(template, "new", FOLDER=str(folder), **answers)
    assert done.returncode == 0, done.stdout
    return folder


def use_packages(folder: Path) -> None:
    """Give a repository the packages of these tests."""
    folder.joinpath(".git/info/exclude").write_text("/.venv\n")
    folder.joinpath(".venv").symlink_to(PROJECT / ".venv")


def commit(folder: Path, tag: str = "") -> None:
    output(folder, "git", "add", "--all")
    output(folder, "git", "commit", "--quiet", f"--message={tag or 'Work'}")
    if tag:
        output(folder, "git", "tag", tag)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A copy with two versions. The newer one, v0.2.0, is the working tree, released by `make release`."""
    with directory() as files:
        clone = files / "template"
        clone.mkdir()
        listing = output(PROJECT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        for file in filter(lambda file: PROJECT.joinpath(file).is_file(), listing.split("\0")[:-1]):
            clone.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / file, clone / file, follow_symlinks=False)
        output(clone, "git", "init", "--quiet", "--initial-branch=main")
        use_packages(clone)
        newer = {file: clone.joinpath(file).read_text() for file in (*OLDER, NEW_FILE)}
        for file, (improved, old) in OLDER.items():
            assert improved in newer[file]
            clone.joinpath(file).write_text(newer[file].replace(improved, old))
        clone.joinpath(NEW_FILE).unlink()
        commit(clone, "v0.1.0")
        for file, text in newer.items():
            clone.joinpath(file).write_text(text)
        commit(clone)
        done = make(clone, "release", VERSION="0.2.0")
        assert done.returncode == 0, done.stdout
        yield clone


@pytest.fixture(scope="session")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that returns the project with these apps and this sample."""
    projects: dict[tuple[str, str], Path] = {}

    def project(apps: str, sample: str) -> Path:
        if (apps, sample) not in projects:
            folder = tmp_path_factory.mktemp("projects") / "my-shop"
            projects[apps, sample] = new(template, folder, apps, sample)
            use_packages(folder)
        return projects[apps, sample]

    return project


@pytest.fixture(scope="session")
def edited(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that returns a copy of the template with these edits committed."""
    copies: dict[tuple[str, ...], Path] = {}

    def copy(*names: str) -> Path:
        if names not in copies:
            copies[names] = folder = tmp_path_factory.mktemp("edited") / "template"
            output(template, "git", "clone", "--quiet", str(template), str(folder))
            output(folder, "git", "remote", "remove", "origin")
            use_packages(folder)
            for name in names:
                EDITS[name](folder)
                assert output(folder, "git", "status", "--porcelain"), f"{name} changed nothing"
            commit(folder)
        return copies[names]

    return copy
