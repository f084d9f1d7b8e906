"""Whatever a setting contains, the site can use it, or stops with a line that names the setting and not its value."""

import os
import runpy
from typing import Any
from unittest.mock import patch

import pytest
import redis.connection
from config.settings import SHAPES
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from jobs.settings import SHAPES as OF_JOBS
from sentry_sdk.utils import Dsn

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning:runpy")]
MODULES = dict.fromkeys(SHAPES, "config.settings") | dict.fromkeys(OF_JOBS, "jobs.settings")
STARTS = ["", "redis://", "rediss://", "postgresql://", "sqlite:////", "smtp://", "smtp+tls://", "https://", "file:///"]
PIECES = [
    "me:", "hunter2", "@", "[", "[::1", "::1]", "host", "127.0.0.1", ":99999", ":0", ":-1", ":5432", ":\u0661", "/",
    "/1", "/name", "?", "?port=x", "&", "#", "%", "%zz", "\u00fc", "\uff20", "\u2100", " ", ",", "on",
    "9" * 5000, "\n", "..",
]  # fmt: skip
# What the site does with a setting later.
USES: dict[str, Any] = {"REDIS_URL": redis.connection.parse_url, "SENTRY_DSN": Dsn}


@effort(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(MODULES)),
    start=st.sampled_from(STARTS),
    rest=st.lists(st.sampled_from(PIECES), max_size=7).map("".join),
)
def test_any_value(name: str, start: str, rest: str) -> None:
    value = start + rest
    with patch.dict(os.environ, {"APP": "site", name: value}), patch("config.sentry.report_to"):
        try:
            runpy.run_module(MODULES[name])
            said = ""
        except SystemExit as stopped:
            said = str(stopped)
    if said:
        expected = (SHAPES | OF_JOBS)[name]
        assert said in [f"site: {name}: {fault}; should be {expected}" for fault in ("malformed", "not set")]
    elif name in USES and value:
        USES[name](value)
