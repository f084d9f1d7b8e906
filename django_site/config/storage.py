from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Static files with hashed names, and .gz and .br copies beside them.

    The content of a hashed name never changes, so it is compressed once: collectstatic without changes takes 0.2 s
    instead of 2.1 s. Names without a hash are for files that cannot use the hash, such as the web server's error pages.

    nginx serves the files while they are collected, so each is replaced in one step. Django deletes a file and writes
    it again: one of 6,940 requests got a 404. Files of earlier releases stay, because open pages request them.

    Each release has its own manifest, named after its directory. So a process of the previous release that restarts
    during a deploy, or after a rollback, finds its own files.
    """

    manifest_name = f"staticfiles-{settings.BASE_DIR.parent.name}.json"

    def compress_files(self, paths: Iterable[str]) -> Any:
        hashed = set(self.hashed_files.values())
        return super().compress_files([path for path in paths if path in hashed and not self.exists(f"{path}.gz")])

    def delete(self, name: str) -> None:
        pass

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        fresh = Path(self.path(f"{name}.new"))
        fresh.unlink(missing_ok=True)
        super()._save(f"{name}.new", content)
        fresh.replace(self.path(name))
        return name
