"""`make release` makes a version from a clean main branch, or changes nothing and says why."""

import tomllib
from datetime import date
from pathlib import Path

import pytest

from tests.template.conftest import make, new, output, use_packages


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    output(tmp_path, "git", "clone", "--quiet", "--no-tags", str(template), str(folder))
    # Before the release that the template ends with.
    output(folder, "git", "reset", "--quiet", "--hard", "HEAD~1")
    use_packages(folder)
    return folder


def versions(folder: Path) -> set[str]:
    """Return the project's own version in pyproject.toml and in uv.lock."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    packages = tomllib.loads((folder / "uv.lock").read_text())["package"]
    return {project["version"], *(package["version"] for package in packages if package["name"] == project["name"])}


def check_release(folder: Path, version: str) -> None:
    done = make(folder, "release", VERSION=version)
    assert done.returncode == 0, done.stdout
    assert f"git push --atomic origin main v{version}" in done.stdout
    assert versions(folder) == {version}
    heading = f"## [Unreleased]\n\n## [{version}] - {date.today().isoformat()}\n\n### Added\n"
    assert heading in (folder / "CHANGELOG.md").read_text()
    assert output(folder, "git", "status", "--porcelain") == ""
    assert output(folder, "git", "log", "-1", "--format=%s") == f"Release {version}\n"
    assert output(folder, "git", "describe") == f"v{version}\n"
    changed = output(folder, "git", "show", "--name-only", "--format=", "HEAD").split()
    # A project's first version is the one that its files have already.
    assert changed == (["CHANGELOG.md"] if version == "0.1.0" else ["CHANGELOG.md", "pyproject.toml", "uv.lock"])
    assert "### Added\n\n- " in output(folder, "git", "tag", "--list", "--format=%(contents)", f"v{version}")


def test_a_release_is_a_commit_and_a_tag(clone: Path) -> None:
    check_release(clone, "0.2.0")
    done = make(clone, "release", VERSION="0.3.0")
    assert done.returncode != 0
    assert "CHANGELOG.md has nothing below '## [Unreleased]'" in done.stdout


def test_a_project_has_releases_of_its_own(template: Path, tmp_path: Path) -> None:
    folder = new(template, tmp_path / "my-shop", apps="api")
    use_packages(folder)
    assert versions(folder) == {"0.1.0"}
    check_release(folder, "0.1.0")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("", "VERSION is '': use three numbers"),
        ("v0.2.0", "VERSION is 'v0.2.0': use three numbers"),
        ("0.2", "VERSION is '0.2': use three numbers"),
        ("0.1.0", "VERSION is 0.1.0: use one above 0.1.0"),
        ("0.0.9", "VERSION is 0.0.9: use one above 0.1.0"),
    ],
)
def test_an_unsuitable_version_is_named(clone: Path, version: str, reason: str) -> None:
    check_nothing_changes(clone, version, reason)


def check_nothing_changes(clone: Path, version: str, reason: str) -> None:
    before = output(clone, "git", "show-ref"), output(clone, "git", "status", "--porcelain")
    done = make(clone, "release", VERSION=version)
    assert done.returncode != 0, done.stdout
    assert reason in done.stdout
    assert "Traceback" not in done.stdout
    assert (output(clone, "git", "show-ref"), output(clone, "git", "status", "--porcelain")) == before


def test_uncommitted_changes_stop_it(clone: Path) -> None:
    (clone / "stray").write_text("")
    check_nothing_changes(clone, "0.2.0", "uncommitted changes. Commit them first:\n?? stray")


def test_another_branch_stops_it(clone: Path) -> None:
    output(clone, "git", "switch", "--quiet", "--create", "work")
    check_nothing_changes(clone, "0.2.0", "This is the branch work")


def test_a_tag_above_stops_it(clone: Path) -> None:
    output(clone, "git", "tag", "v0.9.0")
    check_nothing_changes(clone, "0.2.0", "use one above 0.9.0")


def test_a_rejected_commit_leaves_the_files_as_they_were(clone: Path) -> None:
    hook = clone / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    check_nothing_changes(clone, "0.2.0", "git commit: not today")
