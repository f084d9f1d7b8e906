"""Prometheus and Alertmanager on a host of the group `monitoring`."""

import json
import time
from collections.abc import Callable
from typing import Any

from deploy.core import metrics
from tests.chaos.test_alerts import scaled
from tests.hosts.shapes import one_and_long_five
from tests.hosts.stack import HostsStack

CERTIFICATE = "/srv/app/secrets/tls_certificate"
SERVICES = "prometheus prometheus-alertmanager"


def wait_for_alert(stack: HostsStack, start: str) -> None:
    """Return when a line that starts so arrived at the webhook. Other tests cause other alerts."""
    lines: list[str] = []
    while not any(line.startswith(start) for line in lines):
        for attachment in stack.alerts.get(timeout=180).get("attachments", []):
            lines += attachment["text"].splitlines()
        print(lines)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1)


@one_and_long_five
def test_alerts_reach_the_webhook(stack: HostsStack) -> None:
    """The group is added to a stack that serves. Prometheus reads all hosts, and a real fault fires and resolves."""
    monitoring, edge = stack.first("site"), stack.first("edge")

    def ask(path: str) -> Any:
        return json.loads(monitoring.run(f"curl --silent --fail http://127.0.0.1:9090/api/v1/{path}").stdout)["data"]

    def all_read() -> bool:
        states = {each["labels"]["host"]: each["health"] for each in ask("targets")["activeTargets"]}
        return states == {host.name: "up" for host in stack.network}

    def change(inventory: Any) -> None:
        inventory["all"]["children"]["monitoring"] = {"hosts": {monitoring.name: None}}
        # Its address may read the metrics because it is in the group.
        del inventory["all"]["vars"]["prometheus_addresses"]

    with stack.other_inventory(change):
        done = stack.make("provision")
        assert done.returncode == 0, done.stdout
        wait_until(all_read)
        rules = [rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]]
        assert "CertificateExpires" in rules
        # They listen on their own host only: their pages show everything to everybody.
        listening = monitoring.run(
            "ss --no-header --listening --tcp --numeric '( sport = 9090 or sport = 9093 )'"
        ).stdout
        assert [line.split()[3] for line in sorted(listening.splitlines())] == [
            "127.0.0.1:9090",
            "127.0.0.1:9093",
        ]
        processes = monitoring.run(f"systemctl show --property=MainPID --value {SERVICES}").stdout.split()
        users = monitoring.run(f"ps --no-headers -o user:20 {' '.join(processes)}").stdout.split()
        assert users == ["prometheus", "prometheus"]

        # The waits of the rules are left out. `make provision` writes them again.
        monitoring.run("cat >/etc/prometheus/rules.yml", input=scaled(metrics.RULES.read_text()))
        monitoring.run("systemctl reload prometheus")
        edge.run(f"cp --preserve {CERTIFICATE} {CERTIFICATE}.away")
        try:
            expiring = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days 5 -keyout /dev/null 2>/dev/null"
            edge.run(f"{expiring} >{CERTIFICATE}")
            wait_for_alert(stack, f"{edge.name}: the certificate expires in 4d")
        finally:
            edge.run(f"mv {CERTIFICATE}.away {CERTIFICATE}")
        wait_for_alert(stack, f"Resolved: {edge.name}: the certificate expires")
        assert stack.make("provision").returncode == 0
        assert monitoring.run("cat /etc/prometheus/rules.yml").stdout == metrics.RULES.read_text()
    monitoring.run(f"systemctl disable --now {SERVICES}")
