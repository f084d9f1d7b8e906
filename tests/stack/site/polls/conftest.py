from collections.abc import Iterator

import pytest

from tests.people import Person, make
from tests.stacks import Stack


@pytest.fixture(scope="session")
def people(stack: Stack) -> Iterator[Person]:
    """`next(people)` is a person who has not voted yet."""
    return iter(make(stack, 20))
