"""Metrics are exact across restarts and kills, and private. No client chooses a label. `up` is public."""

import itertools
import random
import string
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.core.apps import INSTANCES, App, Instance
from deploy.core.probe import UNCACHED
from tests.stack.checks import LISTENING, check_error, check_headers, each_app, error_kind, workers_of
from tests.stacks import Stack
from tests.stacks.network import HOME, enter

SERVING = [instance for instance in INSTANCES.values() if instance.server.listens]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """Return the value of each sample by its name and labels."""
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def scrape(stack: Stack, instance: Instance) -> Samples:
    """Return the metrics of the apps as one instance reads them: those of all."""
    with stack.inside() as inside:
        response = inside.get(f"/{instance.sockets(stack.cores)[0]}/health/metrics")
    assert response.status_code == 200, response.text
    return parse(response.text)


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return sum(value for (found, own), value in samples.items() if found == name and labels.items() <= own)


def counts(stack: Stack, instance: Instance = SERVING[0]) -> dict[str, float]:
    """Return how many requests each app has answered with 200."""
    samples = scrape(stack, instance)
    name = "http_request_duration_seconds_count"
    return {app.name: total(samples, name, app=app.name, status="200") for app in LISTENING}


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true: a process counts a request just after its response."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_counts_are_exact_across_a_restart_and_killed_workers(stack: Stack) -> None:
    before, answered, done = counts(stack), Counter[str](), threading.Event()

    def load(times: int = 0) -> None:
        mine = Counter[str]()
        with stack.client(headers=UNCACHED) as client:
            for number in itertools.count(1):
                for app in LISTENING:
                    response = client.get(app.prefix)
                    assert response.status_code == 200
                    mine[app.name] += 1
                if number == times or done.is_set():
                    break
        answered.update(mine)

    def are_equal() -> bool:
        return counts(stack) == {name: before[name] + answered[name] for name in before}

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    restarted = stack.make("restart")
    done.set()
    for client in clients:
        client.join()
    assert restarted.returncode == 0, restarted.stdout
    wait_until(are_equal)
    for instance in SERVING:
        workers_of(stack.pids()[instance.name])[0].kill()
    stack.wait_ready()
    load(times=20)
    wait_until(are_equal)
    assert [counts(stack, each) for each in SERVING] == [counts(stack)] * len(SERVING)


@each_app
def test_clients_choose_no_label(stack: Stack, app: App) -> None:
    def send(times: int) -> set[tuple[str, ...]]:
        """Send random requests. Return the labels of all requests so far."""
        for _ in range(times):
            words = ["".join(random.choices(string.ascii_uppercase, k=12)) for _ in range(4)]
            with stack.client(headers=UNCACHED | {"User-Agent": words[0], words[1]: words[2]}) as client:
                client.get(f"{app.prefix}{words[3]}", params={words[0]: words[1]})
                client.request(words[2], f"{app.prefix}{words[3]}")
        labels = [dict(own) for name, own in scrape(stack, SERVING[0]) if name == "http_request_duration_seconds_count"]
        names = ("instance", "method", "route", "status")
        return {tuple(each[name] for name in names) for each in labels if each["app"] == app.name}

    known = {(method, route, status) for _, method, route, status in send(5)}
    assert {"other", "GET"} <= {method for method, _, _ in known}
    assert {(method, route, status) for _, method, route, status in send(50)} == known


@pytest.mark.parametrize("path", ["/metrics", "/health/metrics", "/api/metrics", "/site-a/health/metrics", "/status"])
def test_the_world_reads_no_metrics(stack: Stack, path: str) -> None:
    with stack.client() as client:
        response = client.get(path)
    assert response.status_code == 404
    assert "# TYPE" not in response.text


def test_prometheus_reads_all_metrics_of_a_machine(secure: Stack) -> None:
    if "METRICS_PORT" not in secure.environment:
        pytest.skip("this stack has no port for Prometheus")
    enter(HOME)
    address = f"127.0.0.1:{secure.environment['METRICS_PORT']}"
    assert f'targets: ["{address}"]' in (secure.var / "prometheus.yml").read_text()
    assert httpx.get(f"http://{address}/").status_code == 404

    def read() -> Samples:
        return parse(httpx.get(f"http://{address}/metrics", timeout=30).text)

    with secure.client(headers=UNCACHED) as client:
        for app in LISTENING:
            client.get(app.prefix)
    found = read()
    for app in LISTENING:
        assert total(found, "http_request_duration_seconds_count", app=app.name, method="GET", status="200") > 0
    for name in ("instance_ready", "instance_in_rotation"):
        assert {dict(labels)["instance"]: value for (each, labels), value in found.items() if each == name} == {
            instance.name: 1 for instance in SERVING
        }
    assert total(found, "nginx_requests_total") > 0
    assert 0 < total(found, "disk_free_ratio") < 1
    now = time.time()
    assert now + 29 * 86400 < total(found, "certificate_expiry_timestamp_seconds") < now + 31 * 86400
    last = SERVING[-1].name
    secure.stop(last)
    try:
        wait_until(lambda: total(read(), "instance_ready", instance=last) == 0)
        assert total(read(), "instance_ready") == len(SERVING) - 1
    finally:
        secure.start(last)
        secure.wait_ready()


@each_app
@pytest.mark.parametrize("host", [{}, {"Host": "10.0.0.1"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_up_says_that_an_app_can_serve(stack: Stack, app: App, host: dict[str, str], method: str) -> None:
    with stack.client(headers=host) as client:
        response = client.request(method, f"{app.prefix}up")
        assert (response.status_code, response.content) == (200, b"")
        check_headers(stack, response.headers.multi_items())
        # The rest of a server with another name stays closed.
        assert client.get(app.prefix).status_code == (400 if host else 200)


@each_app
def test_up_says_that_no_instance_can_serve(stack: Stack, app: App) -> None:
    for instance in app.instances:
        stack.stop(instance.name)
    try:
        with stack.client() as client:
            wait_until(lambda: client.get(f"{app.prefix}up").status_code == 503)
            check_error(client.get(f"{app.prefix}up"), 503, error_kind(app))
    finally:
        for instance in app.instances:
            stack.start(instance.name)
        stack.wait_ready()
