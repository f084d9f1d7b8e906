"""A stack with faults built in, on servers that tests may kill."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.sample import Crowd
from tests.stacks import Stack, copied

HERE = Path(__file__).parent
SITE_URLS = """
import faults
urlpatterns += [path(f"faults/{view.__name__}", view) for view in (faults.sleep, faults.spin, faults.leak)]
"""
API_ROUTES = """
from . import faults
ROUTES += [(f"/api/v1/faults/{each.__name__.lower()}", each) for each in (faults.Sleep, faults.Spin, faults.Leak)]
"""


def pytest_configure(config: pytest.Config) -> None:
    # A line for each request would bury what a failed test says.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@contextmanager
def faulty() -> Iterator[Path]:
    """A copy of the project with endpoints under /faults/ and /api/v1/faults/, so that the project has none."""
    servers.program("nginx", "nginx libnginx-mod-http-brotli-static")
    with copied() as project:
        shutil.copy(HERE / "faults_site.py", project / "django_site/faults.py")
        shutil.copy(HERE / "faults_api.py", project / "tornado_api/faults.py")
        for file, lines in (("django_site/config/urls.py", SITE_URLS), ("tornado_api/app.py", API_ROUTES)):
            with (project / file).open("a") as end:
                end.write(lines)
        yield project


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    variables = {}
    with ExitStack() as data, faulty() as project:
        if pytestconfig.getoption("data") == "postgresql":
            # Of its own: tests stop and freeze them.
            variables["DATABASE_URL"] = data.enter_context(servers.postgresql())
            variables["REDIS_URL"] = data.enter_context(servers.redis())
        running = Stack(project.parent, variables, project)
        try:
            running.up()
            yield running
        finally:
            running.down()


@pytest.fixture(scope="session")
def crowd(stack: Stack) -> Crowd:
    return Crowd.gather(stack)


@pytest.fixture(scope="session")
def short(pytestconfig: pytest.Config) -> bool:
    """The form that is part of `make test`."""
    return bool(pytestconfig.getoption("short"))
