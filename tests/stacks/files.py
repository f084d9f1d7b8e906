"""Temporary directories, copies of the project, and edits in them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.environment import PROJECT

from .base import Stack


@contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory that other users may enter, because root's stack runs as www-data."""
    made = Path(tempfile.mkdtemp(prefix="stack-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the project, in a directory of its own, for a stack whose files a test edits."""
    # git, and what git ignores.
    left_out = shutil.ignore_patterns(".git", ".venv", ".env", "var", "artifacts", "__pycache__", ".*_cache")
    with directory() as files:
        project = files / "project"
        shutil.copytree(PROJECT, project, ignore=left_out)
        (project / ".venv").symlink_to(PROJECT / ".venv")
        yield project


@contextmanager
def edited(stack: Stack, path: str, old: str, new: str) -> Iterator[None]:
    """For the block, replace the first `old` in a file of the stack's copied project."""
    file = stack.project / path
    text = file.read_text()
    assert old in text, f"{path} has no {old!r}"
    file.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        file.write_text(text)
