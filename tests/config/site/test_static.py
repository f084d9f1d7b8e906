"""Static files on a host, across releases."""

import json
from pathlib import Path

import pytest

from deploy.ansible.apps.site import static


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(static, "RELEASES", tmp_path / "releases")
    monkeypatch.setattr(static, "VAR", tmp_path)
    return tmp_path


def test_files_of_deleted_releases_are_deleted(var: Path) -> None:
    files = var / "static"
    (files / "admin").mkdir(parents=True)
    for release, digest in {"gone": "111", "kept": "222", "current": "333"}.items():
        paths = {"site.css": f"site.{digest}.css", "admin/base.css": f"admin/base.{digest}.css"}
        (files / f"staticfiles-{release}.json").write_text(json.dumps({"paths": paths}))
        for path in [*paths, *paths.values()]:
            for end in ("", ".gz", ".br"):
                (files / f"{path}{end}").touch()
    for release in ("kept", "current"):
        (var / "releases" / release).mkdir(parents=True)
    before = {path for path in files.rglob("*") if path.is_file()}
    static.prune()
    gone = before - set(files.rglob("*"))
    old = {f"{path}.111.css{end}" for path in ("site", "admin/base") for end in ("", ".gz", ".br")}
    assert {str(path.relative_to(files)) for path in gone} == old | {"staticfiles-gone.json"}


def test_new_files_go_beside_the_old_ones(var: Path) -> None:
    (var / "static").mkdir()
    (var / "static/site.111.css").write_text("old")
    fresh = var / "tmp/static"
    (fresh / "admin").mkdir(parents=True)
    (fresh / "admin/base.222.css").write_text("new")
    static.take(fresh)
    assert not fresh.exists()
    found = {str(path.relative_to(var / "static")) for path in (var / "static").rglob("*.css")}
    assert found == {"site.111.css", "admin/base.222.css"}
