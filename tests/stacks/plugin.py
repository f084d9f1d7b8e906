"""pytest's fixtures of stacks. --stack chooses the target."""

from collections.abc import Iterator

import pytest

from tests.stacks import ComposeStack, NativeStack, Stack, running


@pytest.fixture(scope="session")
def stack_class(pytestconfig: pytest.Config) -> type[Stack]:
    """The class of the stacks that a test starts on this machine: --stack=compose, or native for any other."""
    return ComposeStack if pytestconfig.getoption("stack") == "compose" else NativeStack


@pytest.fixture(scope="session")
def native() -> Iterator[NativeStack]:
    with running(NativeStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def compose() -> Iterator[ComposeStack]:
    with running(ComposeStack) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Stack:
    """The stack that most tests share. They leave it as they found it, except its data."""
    found: Stack = request.getfixturevalue(pytestconfig.getoption("stack"))
    return found
