"""A running stack whose files a test may edit."""

from collections.abc import Iterator

import pytest

from tests.stacks import NativeStack, copied


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
