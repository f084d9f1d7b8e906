import pytest

from tests.sample import Crowd
from tests.stacks import ComposeStack


@pytest.fixture(scope="session")
def stack(faulty_compose: ComposeStack) -> ComposeStack:
    return faulty_compose


@pytest.fixture(scope="session")
def crowd(stack: ComposeStack) -> Crowd:
    return Crowd.gather(stack)
