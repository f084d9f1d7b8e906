"""Prometheus and Alertmanager on a host of the group `monitoring`."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy.core import metrics
from tests.chaos.test_alerts import scaled, wait_until
from tests.hosts.hosts import Host
from tests.hosts.shapes import one_and_long_five
from tests.hosts.stack import HostsStack

CERTIFICATE = "/srv/app/secrets/tls_certificate"
VAR = "/srv/app/var"
SERVICES = "prometheus prometheus-alertmanager"


def wait_for_alert(stack: HostsStack, pattern: str) -> None:
    """Return when a line that begins like this arrived at the webhook. Other tests cause other alerts."""
    lines: list[str] = []
    while not any(re.match(pattern, line) for line in lines):
        for attachment in stack.alerts.get(timeout=180).get("attachments", []):
            lines += attachment["text"].splitlines()
        print(lines)


@contextmanager
def expiring_certificate(host: Host) -> Iterator[None]:
    """For the block, nginx's certificate is one that expires in five days."""
    host.run(f"cp --preserve {CERTIFICATE} {CERTIFICATE}.away")
    try:
        new = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days 5 -keyout /dev/null"
        host.run(f"{new} 2>/dev/null >{CERTIFICATE}")
        yield
    finally:
        host.run(f"mv {CERTIFICATE}.away {CERTIFICATE}")


@contextmanager
def full_disk(host: Host) -> Iterator[None]:
    """For the block, the service of the metrics sees a small and full disk as that of the run-time files."""
    drop_in = "/run/systemd/system/tandem-metrics.service.d"
    # systemd ignores the disk if the sandbox has the same path. Drop-ins are read in the order of their names.
    disk = f"[Service]\nReadWritePaths=\nTemporaryFileSystem={VAR}:size=4M\nBindPaths={VAR}/run\n"
    host.run(f"mkdir -p {drop_in} && cat >{drop_in}/small-disk.conf", input=disk)
    host.run("systemctl daemon-reload && systemctl restart tandem-metrics")
    try:
        seen = f"/proc/$(systemctl show --property=MainPID --value tandem-metrics)/root{VAR}"
        full = host.run(f"head --bytes=8M /dev/zero >{seen}/filler", check=False)
        assert "No space left" in full.stderr
        yield
    finally:
        host.run(f"rm -r {drop_in} && systemctl daemon-reload")
        host.run("systemctl restart tandem-metrics")


# The database's backup in what the check writes for the metrics.
MAKE_OLD = """
import json, pathlib
path = pathlib.Path("/var/lib/data-backup/state.json")
state = json.loads(path.read_text())
path.write_text(json.dumps(state | {"database": state["database"] - 2 * 86400}))
"""


@contextmanager
def old_backup(host: Host) -> Iterator[None]:
    """For the block, the newest backup of the database is two days old."""
    host.run("systemctl start tandem-backup@check")
    host.run("python3 -", input=MAKE_OLD)
    try:
        yield
    finally:
        host.run("systemctl start tandem-backup@check")


@one_and_long_five
def test_alerts_reach_the_webhook(stack: HostsStack) -> None:
    """The group is added to a stack that serves. Prometheus reads all hosts, and real faults fire and resolve."""
    monitoring, edge, data = stack.first("site"), stack.first("edge"), stack.on("data")[0]
    assert stack.make("backup").returncode == 0

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

        # The waits of the rules and of Alertmanager are left out. `make provision` writes them again.
        monitoring.run("cat >/etc/prometheus/rules.yml", input=scaled(metrics.RULES.read_text()))
        waits = '"group_wait": "1s", "group_interval": "1s",'
        monitoring.run(f"sed --in-place 's/\"group_by\"/{waits} &/' /etc/prometheus/alertmanager.yml")
        monitoring.run(f"systemctl reload {SERVICES}")
        with expiring_certificate(edge):
            wait_for_alert(stack, f"{edge.name}: the certificate expires in 4d")
        wait_for_alert(stack, f"Resolved: {edge.name}: the certificate expires")
        with full_disk(edge):
            wait_for_alert(stack, rf"{edge.name}: \S+% of the disk is free")
        wait_for_alert(stack, rf"Resolved: {edge.name}: \S+% of the disk is free")
        with old_backup(data):
            wait_for_alert(stack, f"{data.name}: the newest backup of database is 2d")
        wait_for_alert(stack, f"Resolved: {data.name}: the newest backup of database")
        assert stack.make("provision").returncode == 0
        assert monitoring.run("cat /etc/prometheus/rules.yml").stdout == metrics.RULES.read_text()
    monitoring.run(f"systemctl disable --now {SERVICES}")
