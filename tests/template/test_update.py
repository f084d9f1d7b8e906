"""`make update` keeps the owner's edits and merges what is newer in the template."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import directory
from tests.template.conftest import NEW_FILE, OLDER, commit, make, new, output, run, use_packages

# An edit near an improvement, an edit of a file that did not change since, and a file that the owner deleted.
EDITS = {
    "nginx/nginx.conf": ("client_header_timeout 10s;", "client_header_timeout 15s;"),
    "django_site/static/site.css": ("color-scheme: light dark;", "color-scheme: light;"),
}
UNWANTED = "deploy/ansible/inventories/five-hosts/hosts.yml"


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
        output(folder, str(template / ".venv/bin/uv"), "add", "--quiet", "--no-sync", "babel")
        commit(folder)
        yield folder


def test_an_update_merges(project: Path) -> None:
    assert not (project / NEW_FILE).exists()
    update = (project / "make/update.mk").read_text()
    [command] = [line.strip() for line in update.splitlines() if "copier update" in line]
    done = run(project, *command.partition(" $(if")[0].split())
    assert done.returncode == 0, done.stdout
    for file, (improved, _) in OLDER.items():
        assert improved in (project / file).read_text()
    assert (project / NEW_FILE).exists()
    for file, (_, edit) in EDITS.items():
        assert edit in (project / file).read_text()
    assert not (project / UNWANTED).exists()
    assert "Tandem's" in (project / "django_site/prices.py").read_text()
    for file in ("pyproject.toml", "uv.lock"):
        assert "babel" in (project / file).read_text()
    assert "_commit: v0.2.0" in (project / ".copier-answers.yml").read_text()
    changed = output(project, "git", "status", "--porcelain").splitlines()
    assert {line[3:] for line in changed} == {*OLDER, NEW_FILE, ".copier-answers.yml"}
    assert make(project, "help").returncode == 0
