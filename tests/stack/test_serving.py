"""Which service answers a request, and how nginx shares the requests between instances."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from deploy.core.apps import App
from deploy.core.probe import UNCACHED
from tests.stack.checks import each_app, is_from, upstream, workers_of
from tests.stacks import Stack, outside


@each_app
def test_an_app_answers_under_its_prefix(stack: Stack, app: App) -> None:
    with stack.client(headers=UNCACHED) as client:
        for path in (app.prefix, f"{app.prefix}nothing-here"):
            assert is_from(client.get(path), app)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/_errors/error.html"])
def test_nginx_answers_itself(stack: Stack, path: str) -> None:
    with stack.client() as client:
        response = client.get(path)
    assert (response.status_code, upstream(response)) == (404, "")


@each_app
def test_visitors_over_ipv6(stack: Stack, app: App) -> None:
    scheme = "https" if stack.tls else "http"
    with outside(), httpx.Client(base_url=f"{scheme}://{stack.ipv6}", headers=UNCACHED, verify=False) as client:  # noqa: S501
        response = client.get(app.prefix)
    assert is_from(response, app)


def test_one_worker_per_core_in_each_instance(stack: Stack) -> None:
    pids = stack.pids()
    listening = [name for name, instance in stack.instances.items() if instance.server.listens]
    workers = {name: len(workers_of(pids[name])) for name in ("nginx", *listening)}
    assert set(workers.values()) == {stack.cores}, workers


@each_app
def test_all_instances_get_short_requests(stack: Stack, app: App) -> None:
    def hundred(_: int) -> Counter[str]:
        with stack.client(headers=UNCACHED) as client:
            return Counter(upstream(client.get(app.prefix)) for _ in range(100))

    with ThreadPoolExecutor(4) as threads:
        served = sum(threads.map(hundred, range(4)), Counter[str]())
    names = [instance.name for instance in app.instances]
    assert served.keys() == {*stack.sockets(*names)}
    for name in names:
        assert sum(served[socket] for socket in stack.sockets(name)) >= 0.8 * 400 / len(names), served
