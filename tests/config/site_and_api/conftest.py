"""The api's settings name its app. They are read once, when they are imported."""

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("APP", "api")
    from tornado_api import settings as settings
