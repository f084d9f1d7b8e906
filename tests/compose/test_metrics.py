"""The container that has the metrics for Prometheus."""

import json

import httpx

from tests.compose.conftest import wait_healthy
from tests.stacks import ComposeStack
from tests.stacks.network import HOME, enter


def read(stack: ComposeStack) -> str:
    enter(HOME)
    return httpx.get(f"http://127.0.0.1:{stack.environment['METRICS_PORT']}/metrics", timeout=30).text


def test_prometheus_reads_the_metrics_of_all_containers(other: ComposeStack) -> None:
    wait_healthy(other)
    found = read(other)
    for instance in other.instances.values():
        if instance.server.listens:
            assert f'instance_ready{{app="{instance.app.name}",instance="{instance}"}} 1.0\n' in found
        assert f'database_query_seconds_count{{app="{instance.app.name}",instance="{instance}"}}' in found
    assert "nginx_requests_total" in found


def test_the_stack_page_shows_all_containers(other: ComposeStack) -> None:
    wait_healthy(other)
    with other.client() as client:
        page = client.get("/stack/").text
    assert page.count("in rotation") == len([each for each in other.instances.values() if each.server.listens])
    assert page.count("reachable") == 2


def test_it_is_confined(other: ComposeStack) -> None:
    container = other.container("metrics")
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    port = other.environment["METRICS_PORT"]
    assert host["PortBindings"] == {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}
    # No secret of an app.
    assert "/run/secrets" not in json.dumps(container["Mounts"])
