"""What a deploy does on a host, as far as it is files."""

import json
from pathlib import Path

import pytest
from deploy.vm import host


def test_static_files_that_no_release_knows_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "RELEASES", tmp_path / "releases")
    monkeypatch.setattr(host, "VAR", tmp_path)
    static = tmp_path / "static"
    (static / "admin").mkdir(parents=True)
    for release, digest in {"gone": "111", "kept": "222", "current": "333"}.items():
        paths = {"site.css": f"site.{digest}.css", "admin/base.css": f"admin/base.{digest}.css"}
        (static / f"staticfiles-{release}.json").write_text(json.dumps({"paths": paths}))
        for path in [*paths, *paths.values()]:
            for end in ("", ".gz", ".br"):
                (static / f"{path}{end}").touch()
    for release in ("kept", "current"):
        (tmp_path / "releases" / release).mkdir(parents=True)
    before = {path for path in static.rglob("*") if path.is_file()}
    host.prune_static()
    gone = before - set(static.rglob("*"))
    old = {f"{path}.111.css{end}" for path in ("site", "admin/base") for end in ("", ".gz", ".br")}
    assert {str(path.relative_to(static)) for path in gone} == old | {"staticfiles-gone.json"}
