"""Static files of a Django app on a host: `python3 -m deploy.ansible.apps.site.static take DIRECTORY`, or `… prune`.

Static files of earlier releases stay as long as the releases do, because open pages request them. Standard library
only.
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path

from deploy.targets.hosts.system import RELEASES, VAR


def take(directory: Path) -> None:
    """Move each file from a directory to its place, in one step for each, and remove the directory."""
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        place = VAR / "static" / file.relative_to(directory)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    shutil.rmtree(directory)


def prune() -> None:
    """Delete the files of releases that this host no longer has. Each release's manifest names its files."""
    static = VAR / "static"
    known = set()
    for name in (path.name for path in RELEASES.iterdir()):
        manifest = Path(f"staticfiles-{name}.json")
        with contextlib.suppress(FileNotFoundError):
            paths = json.loads((static / manifest).read_text())["paths"]
            known |= {manifest, *map(Path, paths), *map(Path, paths.values())}
    for file in static.rglob("*"):
        path = file.relative_to(static)
        if file.is_file() and not {path, path.with_suffix("")} & known:
            file.unlink()


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "take":
        take(Path(words[0]))
    prune()
