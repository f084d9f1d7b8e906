"""Build a release: an archive of a commit, with a manifest. It has nothing from the working tree."""

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from deploy.core.apps import PROJECT
from deploy.core.console import Failed


def git(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        raise Failed(f"git {' '.join(words)}: {done.stderr.decode().strip()}")
    return done.stdout


def manifest(ref: str) -> dict[str, str]:
    """Return name (such as `20261121T164000-1a2b3c4`), ref, commit, subject, built (UTC, ISO 8601), lock (SHA-256)."""
    try:
        commit = git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    except Failed:
        raise Failed(f"REF is {ref!r}: there is no such commit") from None
    now = datetime.now(UTC)
    return {
        "name": f"{now:%Y%m%dT%H%M%S}-{commit[:7]}",
        "ref": ref,
        "commit": commit,
        "subject": git("log", "-1", "--format=%s", commit).decode().strip(),
        "built": now.isoformat(timespec="seconds"),
        "lock": hashlib.sha256(git("show", f"{commit}:uv.lock")).hexdigest(),
    }


def build(release: dict[str, str], directory: Path) -> Path:
    """Return the path of NAME.tar.gz: the commit's tree and RELEASE.json.new, which a host renames at the end."""
    archive, added = directory / f"{release['name']}.tar.gz", directory / "RELEASE.json.new"
    added.write_text(json.dumps(release, indent=2))
    git("archive", "--format=tar.gz", f"--output={archive}", f"--add-file={added}", release["commit"])
    return archive
