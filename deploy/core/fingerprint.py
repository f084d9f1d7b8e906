"""Digests of files and settings, by which `make up` finds what changed. Standard library only."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping

from deploy.core.settings import PROJECT


def fingerprint(paths: Iterable[str], variables: Mapping[str, object] = {}) -> str:
    """Return a digest of files and directories of the project, and of variables."""
    digest = hashlib.sha256(json.dumps(dict(variables), sort_keys=True).encode())
    for path in paths:
        root = PROJECT / path
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file() and "__pycache__" not in file.parts:
                name = os.path.relpath(file, PROJECT)
                digest.update(f"{name}\0{file.stat().st_mode}\0".encode() + file.read_bytes())
    return digest.hexdigest()
