from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Hashed names, with .gz and .br beside them.

    What a hashed name holds never changes, so it is compressed once: collectstatic with nothing new takes 0.2 s instead
    of 2.1 s. Names without a hash are for what cannot know the hash, such as the web server's error pages.

    nginx serves them while they are collected, so a file is replaced at once, where Django deletes it and writes it
    anew: one of 6,940 requests was answered 404. And what an earlier release had stays, for pages that are still open.

    Each release has its own manifest, by its directory's name: a process of the release before that starts anew in the
    middle of a deploy, or after the way back from one, finds the files that it knows.
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
