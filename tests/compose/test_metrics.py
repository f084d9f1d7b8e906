"""The containers that have the metrics, Prometheus and Alertmanager."""

import json
import time

import httpx
import pytest

from tests.compose.conftest import SERVICES, wait_healthy
from tests.stacks import ComposeStack
from tests.stacks.network import HOME, enter

# A job that failed for good.
FAIL = """
from django_tasks_db.models import DBTaskResult
from jobs.mail import send
send.enqueue("shop@example.org", "mel@example.org", "")
DBTaskResult.objects.filter(task_path="jobs.mail.send").update(status="FAILED")
"""


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


def test_an_alert_reaches_alertmanager(other: ComposeStack) -> None:
    wait_healthy(other, *SERVICES, "prometheus", "alertmanager")
    other.manage("shell", "--no-imports", "--command", FAIL)
    command = ["amtool", "--alertmanager.url=http://127.0.0.1:9093", "alert", "query", "--output=json"]
    deadline = time.monotonic() + 180
    while "JobsFail" not in (found := other.run("alertmanager", *command)):
        assert time.monotonic() < deadline, found
        time.sleep(1)
    enter(HOME)
    api = f"http://127.0.0.1:{other.environment['PROMETHEUS_PORT']}/api/v1"
    [target] = httpx.get(f"{api}/targets").json()["data"]["activeTargets"]
    assert target["health"] == "up", target["lastError"]
    configuration = other.run("alertmanager", "cat", "/run/secrets/alertmanager")
    assert json.loads(configuration)["receivers"][0]["slack_configs"][0]["api_url"] == other.environment["ALERT_URL"]


@pytest.mark.parametrize(
    ("service", "port", "secrets"),
    [
        ("metrics", "METRICS_PORT", set()),
        ("prometheus", "PROMETHEUS_PORT", {"prometheus", "rules"}),
        ("alertmanager", "", {"alertmanager"}),
    ],
)
def test_it_is_confined(other: ComposeStack, service: str, port: str, secrets: set[str]) -> None:
    container = other.container(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert container["Config"]["User"] not in ("", "0", "root")
    published = [binding for bindings in host["PortBindings"].values() for binding in bindings]
    assert published == ([{"HostIp": "127.0.0.1", "HostPort": other.environment[port]}] if port else [])
    # No secret of an app, and no way to the apps but the sockets that the metrics need.
    mounted = [each["Destination"] for each in container["Mounts"]]
    assert {path.rpartition("/")[2] for path in mounted if path.startswith("/run/secrets/")} == secrets
    assert [*container["NetworkSettings"]["Networks"]] == [f"{other.name}_edge"]
