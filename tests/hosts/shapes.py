"""The stacks that a test runs on."""

import pytest

FIVE_LONG = pytest.param("five", marks=pytest.mark.long)
both_shapes = pytest.mark.parametrize("stack", ["hosts", "five"], indirect=True)
one_and_long_five = pytest.mark.parametrize("stack", ["hosts", FIVE_LONG], indirect=True)
