"""`make update` keeps the owner's edits and merges what is newer in the template."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.stacks import directory
from tests.template.conftest import NEW_FILE, OLDER, Make, commit, make, new, output, use_packages

# An edit near an improvement, an edit of a file that did not change since, and a file that the owner deleted.
EDITS = {
    "nginx/nginx.conf": ("client_header_timeout 10s;", "client_header_timeout 15s;"),
    "django_site/static/site.css": ("color-scheme: light dark;", "color-scheme: light;"),
}
UNWANTED = "deploy/ansible/inventories/five-hosts/hosts.yml"
# A package that these tests have, which the project links.
ADDED = "aiosmtpd"


@pytest.fixture
def project(template: Path) -> Iterator[Path]:
    """A project of the older version, with its owner's work."""
    with directory() as files:
        output(template, "git", "checkout", "--quiet", "v0.1.0")
        try:
            folder = new(template, files / "my-shop")
        finally:
            output(template, "git", "checkout", "--quiet", "main")
        use_packages(folder)
        for file, (old, edit) in EDITS.items():
            path = folder / file
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, edit))
        (folder / UNWANTED).unlink()
        (folder / "django_site/prices.py").write_text('"""Prices. Nothing here is Tandem\'s."""\n')
        output(folder, str(template / ".venv/bin/uv"), "add", "--quiet", "--no-sync", f"{ADDED}=={version(ADDED)}")
        commit(folder)
        yield folder


def test_an_update_merges_the_newest_version_and_shows_its_changes(project: Path) -> None:
    assert not (project / NEW_FILE).exists()
    done = make(project, "update")
    assert done.returncode == 0, done.stdout
    assert "## [0.2.0] - " in done.stdout
    assert "## [0.1.0]" not in done.stdout
    assert "Merged v0.2.0" in done.stdout
    for file, (improved, _) in OLDER.items():
        assert improved in (project / file).read_text()
    assert (project / NEW_FILE).exists()
    for file, (_, edit) in EDITS.items():
        assert edit in (project / file).read_text()
    assert not (project / UNWANTED).exists()
    assert "Tandem's" in (project / "django_site/prices.py").read_text()
    for file in ("pyproject.toml", "uv.lock"):
        assert ADDED in (project / file).read_text()
    assert "_commit: v0.2.0" in (project / ".copier-answers.yml").read_text()
    changed = output(project, "git", "status", "--porcelain").splitlines()
    assert {line[3:] for line in changed} == {*OLDER, NEW_FILE, ".copier-answers.yml"}
    assert make(project, "help").returncode == 0
    commit(project)
    check_one_line(project, "Already up to date: v0.2.0 is the newest version")


def check_one_line(project: Path, start: str) -> None:
    """Check that an update prints one line, in seconds, and merges nothing."""
    began = time.monotonic()
    done = make(project, "update")
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - began < 10
    [line] = done.stdout.splitlines()
    assert line.startswith(start)
    assert output(project, "git", "status", "--porcelain") == ""


def test_an_update_from_a_template_without_versions_says_so(made: Make, template: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "template", tmp_path / "my-shop"
    output(tmp_path, "git", "clone", "--quiet", "--bare", str(template), str(source))
    output(source, "git", "tag", "--delete", "v0.1.0", "v0.2.0")
    output(tmp_path, "git", "clone", "--quiet", str(made("api", "none")), str(folder))
    answers = folder / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(f"_src_path: {template}\n", f"_src_path: {source}\n"))
    commit(folder)
    check_one_line(folder, f"{source} has no released version yet.")


def test_updates_come_from_the_public_repository(template: Path, tmp_path: Path) -> None:
    address = "https://git.example.org/shop.git"
    output(tmp_path, "git", "clone", "--quiet", str(template), str(tmp_path / "template"))
    use_packages(tmp_path / "template")
    output(tmp_path / "template", "git", "remote", "set-url", "origin", address)
    folder = new(tmp_path / "template", tmp_path / "my-shop", apps="api")
    answers = (folder / ".copier-answers.yml").read_text()
    assert f"_src_path: {address}\n" in answers
    assert "_commit: v0.2.0\n" in answers
