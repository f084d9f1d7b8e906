"""What an adopter did stays, and what this repository has since comes in: `make update`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import directory
from tests.template.conftest import OLDER, SINCE, commit, made, make, output

# An edit near an improvement, one of a page, and a file that is not wanted.
EDITS = {
    "nginx/nginx.conf": ("client_header_timeout 10s;", "client_header_timeout 15s;"),
    "django_site/static/site.css": ("color-scheme: light dark;", "color-scheme: light;"),
}
UNWANTED = "deploy/ansible/inventories/five-hosts/hosts.yml"


@pytest.fixture
def project(template: Path) -> Iterator[Path]:
    """Of the older version, and what somebody made of it."""
    with directory() as files:
        output(template, "git", "checkout", "--quiet", "v0.1.0")
        try:
            folder = made(template, files / "my-shop", "auth")
        finally:
            output(template, "git", "checkout", "--quiet", "main")
        for file, (old, new) in EDITS.items():
            path = folder / file
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        (folder / UNWANTED).unlink()
        (folder / "django_site/prices.py").write_text('"""Ours; nothing of it is Tandem\'s."""\n')
        output(folder, str(template / ".venv/bin/uv"), "add", "--quiet", "--no-sync", "babel")
        commit(folder)
        yield folder


def test_an_update(project: Path) -> None:
    assert not (project / SINCE).exists()
    done = make(project, "update")
    assert done.returncode == 0, done.stdout
    print(output(project, "git", "diff", "HEAD", "--stat"))
    for file, (improved, _) in OLDER.items():
        assert improved in (project / file).read_text()
    assert (project / SINCE).exists()
    for file, (_, edit) in EDITS.items():
        assert edit in (project / file).read_text()
    assert not (project / UNWANTED).exists()
    assert "Tandem's" in (project / "django_site/prices.py").read_text()
    for file in ("pyproject.toml", "uv.lock"):
        assert "babel" in (project / file).read_text()
    answers = (project / ".copier-answers.yml").read_text()
    assert "_commit: v0.2.0" in answers
    changed = output(project, "git", "status", "--porcelain").splitlines()
    assert {line[3:] for line in changed} == {*OLDER, SINCE, ".copier-answers.yml"}
    done = make(project, "--jobs=2", "lint", "test-sqlite")
    assert done.returncode == 0, done.stdout
