"""A running stack whose files a test may edit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.otlp import Receiver, receiver
from tests.stacks import NativeStack, copied, outside
from tests.stacks.files import directory


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short path, which the names of sockets contain, and which other users may enter."""
    with directory() as made:
        yield made


@pytest.fixture(scope="module")
def otlp() -> Iterator[Receiver]:
    """A server for the traces of a stack."""
    with outside(), receiver() as otlp:
        yield otlp


@pytest.fixture(scope="module")
def copy() -> Iterator[NativeStack]:
    """A running stack of a copy of the project. `first` in its directory has the output of the first `make up`."""
    with copied() as project:
        stack = NativeStack(project.parent, project=project)
        try:
            (project.parent / "first").write_text(stack.up())
            yield stack
        finally:
            stack.down()
