"""pytest's options, and fixtures that all tests share.

`--data=sqlite` (the default) or `--data=postgresql`, which brings Redis too, runs the same tests on either database.
The latter leaves out tests with the marker `any_data`.
`--stack=native` (the default), `compose` or `hosts` chooses the target. The latter two
bring PostgreSQL and Redis.
`--nothing-missing` (CI) fails a test whose program is not installed, instead of skipping it.
`--short` is the form of long tests for `make test` and `make test-all`. It leaves out tests with the marker `long`.
In containers and on hosts it also leaves out those with `native_if_short`: other tests use the same code of the target.

A folder of tests may have a plugin.py, whose fixtures and hooks are available in all folders.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest

from tests import servers
from tests.cleanup import temporary_directory
from tests.environment import environment, runs_tests

# In reverse order, so that pytest loads stacks/plugin.py before other plugins import it.
plugins = sorted(Path(__file__).parent.glob("*/plugin.py"), reverse=True)
pytest_plugins = [f"tests.{plugin.parent.name}.plugin" for plugin in plugins]

stack = ExitStack()
# What the database of --data lacks. Every test needs it then.
no_data = pytest.StashKey[servers.Missing]()

# On a busy machine, examples take longer than Hypothesis' 200 ms. Everything else is as in its current profile.
hypothesis.settings.register_profile("tests", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", choices=["sqlite", "postgresql"], default="sqlite")
    parser.addoption("--stack", choices=["native", "compose", "hosts"], default="native")
    parser.addoption("--nothing-missing", action="store_true", help="a missing program fails its tests")
    parser.addoption("--short", action="store_true", help="the short form of long tests")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.add_cleanup(stack.close)
    # The workers of pytest-xdist inherit it.
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        directory = stack.enter_context(temporary_directory())
        # A short path: sockets are in tmp_path, and Linux allows their names 108 bytes.
        config.option.basetemp = config.option.basetemp or str(directory / "t")
    if not runs_tests(config):
        return
    var = stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-var-"))
    os.environ |= environment(var)
    if config.getoption("data") == "postgresql":
        try:
            os.environ["DATABASE_URL"] = stack.enter_context(servers.postgresql())
            os.environ["REDIS_URL"] = stack.enter_context(servers.redis())
        except servers.Missing as missing:
            config.stash[no_data] = missing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    if config.getoption("short"):
        left_out = ["long"] if config.getoption("stack") == "native" else ["long", "native_if_short"]
    if config.getoption("data") == "postgresql":
        left_out.append("any_data")
    if deselected := [item for item in items if any(item.get_closest_marker(marker) for marker in left_out)]:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the counts for the table of tests/run.py. With pytest-xdist, the first process has those of all."""
    file = os.environ.get("TEST_RESULTS")
    if file and not hasattr(terminalreporter.config, "workerinput"):
        stats = terminalreporter.stats
        counts = {kind: len(stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
        skipped = sorted({report.longrepr[2].removeprefix("Skipped: ") for report in stats.get("skipped", [])})
        with Path(file).open("a") as results:
            results.write(json.dumps({"counts": counts, "skipped": skipped}) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with skip_what_is_missing(item.config):
        if no_data in item.config.stash:
            raise item.config.stash[no_data]
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with skip_what_is_missing(item.config):
        return (yield)


@contextmanager
def skip_what_is_missing(config: pytest.Config) -> Iterator[None]:
    try:
        yield
    except servers.Missing as missing:
        if config.getoption("nothing_missing"):
            raise
        pytest.skip(str(missing))
