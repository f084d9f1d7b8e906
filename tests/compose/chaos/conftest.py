"""A stack in containers with faults built in."""

from collections.abc import Iterator

import pytest

from tests.chaos.conftest import faulty
from tests.sample import Crowd
from tests.stacks import ComposeStack, running


@pytest.fixture(scope="session")
def faults() -> Iterator[ComposeStack]:
    with faulty() as project, running(ComposeStack, project=project) as stack:
        yield stack


@pytest.fixture(scope="session")
def crowd(faults: ComposeStack) -> Crowd:
    return Crowd.gather(faults)
