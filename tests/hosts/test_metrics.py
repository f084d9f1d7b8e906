"""Each host has metrics of its own for Prometheus."""

import json
import time

import yaml

from deploy.core.apps import APPS
from tests.hosts.hosts import Host
from tests.hosts.shapes import one_and_long_five
from tests.hosts.stack import METRICS_PORT, HostsStack
from tests.hosts.test_data import data

READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())"


def read(reader: Host, host: Host) -> str:
    """Return the metrics of a host, as another one reads them."""
    return reader.run(f"python3 -c '{READ}' http://{host.address}:{METRICS_PORT}/metrics").stdout


@one_and_long_five
def test_prometheus_reads_each_host(stack: HostsStack) -> None:
    made = time.time()
    # Twice: the first may join a run of its timer that began earlier.
    for unit in ("all", "all", "check", "check"):
        data(stack).run(f"systemctl start tandem-backup@{unit}")
    prometheus = stack.first("site")
    for host in stack.network:
        found = read(prometheus, host)
        release = host.run('basename "$(readlink /srv/app/current)"').stdout.strip()
        assert f'release_info{{release="{release}"}} 1\n' in found
        assert ("certificate_expiry_timestamp_seconds" in found) == (host.name in stack.shape["edge"])
        assert ("nginx_requests_total" in found) == (host.name in stack.shape["edge"])
        for app in (app for app in APPS.values() if app.server.listens):
            ready = found.count(f'instance_ready{{app="{app.name}"')
            assert ready == (len(app.instances) if host.name in stack.shape[app.name] else 0)
        # Any app on the host reads the metrics of all.
        counted = 'database_query_seconds_count{app="jobs"' in found
        assert counted == (host.name in stack.shape["jobs"])
    lines = [line for line in read(prometheus, data(stack)).splitlines() if line.startswith("backup_timestamp")]
    times = {line.split('"')[1]: float(line.split()[1]) for line in lines}
    assert {"database", "archive", "uploads"} <= {part for part, seconds in times.items() if seconds >= made - 2}
    # The stack page of each nginx shows all hosts.
    rows = json.loads(
        stack.first("edge").run("cd /srv/app/current && python3 -m deploy.targets.hosts.host rows").stdout
    )
    for app in APPS.values():
        shown = {(row["host"], row["name"]) for row in rows if row["part"] == app.name and row["tone"] == "good"}
        assert shown == {(host, each.name) for host in stack.shape[app.name] for each in app.instances}
    file = stack.project / "var/prometheus-inventory.yml"
    [job] = yaml.safe_load(file.read_text())["scrape_configs"]
    assert {each["labels"]["host"]: each["targets"] for each in job["static_configs"]} == {
        host.name: [f"{host.address}:{METRICS_PORT}"] for host in stack.network
    }
