"""The site's setting for traces, and the site without OpenTelemetry's packages."""

from pathlib import Path

import pytest

from tests.site.commands import manage

LOADED = "import sys, config.wsgi; print([name for name in sys.modules if name.startswith('opentelemetry')])"


@pytest.mark.slow
def test_nothing_is_imported_while_traces_are_off(tmp_path: Path) -> None:
    # redis-py imports OpenTelemetry where it can.
    (tmp_path / "opentelemetry.py").write_text("raise ImportError")
    done = manage("shell", "--verbosity=0", "--command", LOADED, PYTHONPATH=str(tmp_path))
    assert (done.stdout, done.stderr) == ("[]\n", "")
    done = manage("check", OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318", PYTHONPATH=str(tmp_path))
    assert done.stderr.startswith("site: OTEL_EXPORTER_OTLP_ENDPOINT: the packages of the group otel are missing; run ")
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)


@pytest.mark.slow
def test_an_endpoint_that_is_no_address() -> None:
    done = manage("check", OTEL_EXPORTER_OTLP_ENDPOINT="http://user:secret@host")
    expected = "http://host:port or https://host, or empty"
    assert done.stderr == f"site: OTEL_EXPORTER_OTLP_ENDPOINT: malformed; should be {expected}\n"
