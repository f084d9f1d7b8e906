"""A copy of the project with built-in faults, and stacks of this copy on servers that tests may kill."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.stacks import ComposeStack, NativeStack, copied, running

HERE = Path(__file__).parent
SITE_URLS = """
import faults
urlpatterns += [path(f"faults/{view.__name__}", view) for view in (faults.sleep, faults.spin, faults.leak)]
"""
API_FEATURES = """
from .faults import FAULTS
FEATURES.append(FAULTS)
"""


@contextmanager
def faulty() -> Iterator[Path]:
    """A copy of the project with endpoints under /faults/ and /api/v1/faults/. The project itself has none."""
    servers.program("nginx", "nginx libnginx-mod-http-brotli-static")
    with copied() as project:
        shutil.copy(HERE / "faults_site.py", project / "django_site/faults.py")
        shutil.copy(HERE / "faults_api.py", project / "tornado_api/faults.py")
        for file, lines in (("django_site/config/urls.py", SITE_URLS), ("tornado_api/features.py", API_FEATURES)):
            with (project / file).open("a") as end:
                end.write(lines)
        yield project


@pytest.fixture(scope="session")
def faulty_native(pytestconfig: pytest.Config) -> Iterator[NativeStack]:
    variables = {"METRICS_PORT": str(servers.free_port())}
    with ExitStack() as data, faulty() as project:
        if pytestconfig.getoption("data") == "postgresql":
            # The stack gets its own servers, because tests stop and freeze them.
            variables["DATABASE_URL"] = data.enter_context(servers.postgresql())
            variables["REDIS_URL"] = data.enter_context(servers.redis())
        stack = NativeStack(project.parent, variables, project)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


@pytest.fixture(scope="session")
def faulty_compose() -> Iterator[ComposeStack]:
    with faulty() as project, running(ComposeStack, project=project) as stack:
        yield stack
