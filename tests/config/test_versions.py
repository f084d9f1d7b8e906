"""Which version `make update` merges, and what it prints. tests/template runs it on real repositories."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from make import versions

CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n- D\n\n## [0.10.0] - 2026-12-01\n\n- C\n\n## [0.9.0] - 2026-11-26\n\n- B\n"
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.2.3", (1, 2, 3)),
        ("v0.10.0", (0, 10, 0)),
        ("v0.1.0-320-g23905f9", (0, 1, 0)),
        ("23905f9", None),
        ("1.2", None),
        ("1.2.3rc1", None),
        ("", None),
    ],
)
def test_versions_are_parsed(text: str, version: tuple[int, ...] | None) -> None:
    assert versions.parse(text) == version


def test_sections_of_the_changelog_have_a_version() -> None:
    assert versions.sections(CHANGELOG) == {
        (0, 10, 0): "## [0.10.0] - 2026-12-01\n\n- C",
        (0, 9, 0): "## [0.9.0] - 2026-11-26\n\n- B",
    }


@pytest.mark.parametrize(
    ("current", "tags", "wanted", "target", "said"),
    [
        ("v0.9.0", "v0.9.0 v0.10.0 nightly", "", "v0.10.0", "## [0.10.0] - 2026-12-01\n\n- C\n\n\nMerged v0.10.0."),
        ("23905f9", "v0.10.0", "", "v0.10.0", "## [0.10.0]"),
        ("v0.10.0", "v0.9.0 v0.10.0", "", "", "Already up to date: v0.10.0 is"),
        ("v0.10.0-3-gabcdef0", "v0.10.0", "", "", "Already up to date: v0.10.0-3-gabcdef0 is"),
        ("23905f9", "nightly", "", "", "../template has no released version yet."),
        ("23905f9", "", "HEAD", "HEAD", "## [0.10.0]"),
        ("v0.8.0", "v0.9.0 v0.10.0", "0.9.0", "v0.9.0", "## [0.10.0]"),
    ],
)
def test_an_update_goes_to_the_newest_or_the_wanted_version(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    current: str,
    tags: str,
    wanted: str,
    target: str,
    said: str,
) -> None:
    (tmp_path / ".copier-answers.yml").write_text(f"_commit: {current}\n_src_path: ../template\n")
    monkeypatch.setattr(versions, "PROJECT", tmp_path)
    listing = "\n".join(f"23905f9\trefs/tags/{tag}" for tag in tags.split())
    monkeypatch.setattr(versions, "run", lambda *command, folder=None: CHANGELOG if "show" in command else listing)
    monkeypatch.setattr(versions, "install", lambda *groups: None)
    ran: list[list[str]] = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        ran.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    versions.update(wanted)
    assert [command[-1] for command in ran] == ([f"--vcs-ref={target}"] if target else [])
    assert capsys.readouterr().out.startswith(said)
