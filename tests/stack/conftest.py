"""Who uses the stack in these tests."""

from collections.abc import Iterator

import pytest

from tests.people import Person, make
from tests.stacks import AnyStack


@pytest.fixture(scope="session")
def people(stack: AnyStack) -> Iterator[Person]:
    """`next(people)` is somebody who has not written anything yet."""
    return iter(make(stack, 200))
