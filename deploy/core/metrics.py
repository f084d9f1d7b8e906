"""Metrics of this machine for Prometheus: http://ADDRESS:METRICS_PORT/metrics. Standard library only.

Those of the apps are in files of their processes. The first instance that answers reads the files of all. Everything
else is collected here. Containers run this in nginx's image, and hosts without an app have no Python packages.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from xmlrpc.client import Error

from deploy.core import supervisor
from deploy.core.apps import INSTANCES, PROJECT, Instance
from deploy.core.cores import cores
from deploy.core.diagram import diagram
from deploy.core.probe import check, is_in_rotation
from deploy.core.settings import ENV_FILE, read_file, replace
from deploy.core.stack import Stack
from deploy.servers.base import read

# What pgBackRest and restic have, as the check of the backups wrote it (data_backup.py in deploy/ansible/roles/data).
BACKUPS = Path("/var/lib/data-backup/state.json")
RULES = PROJECT / "deploy/prometheus/rules.yml"
# The parts of a readiness check, and how people call them.
DEPENDENCIES = {"database": "database", "bus": "redis"}
# Of nginx's list of failures: 4 MB.
MOST_FAILURES = 1_000_000
# Seconds until a browser has to connect again.
LONGEST_STREAM = 300

Labels = tuple[tuple[str, str], ...]


def family(name: str, kind: str, help: str, *samples: tuple[float, Labels]) -> str:
    """Return a metric in the text format of Prometheus; empty without samples.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"] if samples else []
    for value, labels in samples:
        words = ",".join(f'{label}="{text}"' for label, text in labels)
        lines.append(f"{name}{{{words}}} {value}")
    return "".join(f"{line}\n" for line in lines)


def instances_here() -> list[Instance]:
    """Return the instances that answer requests. A host has those of its groups."""
    groups = os.environ.get("GROUPS")
    return [
        instance
        for instance in INSTANCES.values()
        if instance.server.listens and (groups is None or instance.app.name in groups.split())
    ]


def labels_of(instance: Instance) -> Labels:
    return ("app", instance.app.name), ("instance", instance.name)


def of_apps(run: Path, instances: Iterable[Instance], address: str | None) -> str:
    """Return the metrics that the apps keep; empty if no instance answers within some seconds."""
    end = time.monotonic() + 5
    for instance in instances:
        if time.monotonic() > end:
            break
        bind = (address, instance.port()) if address else None
        if text := instance.server.metrics(run, instance.name, bind):
            return text
    return ""


def of_instances(run: Path, instances: list[Instance], address: str | None) -> Iterator[str]:
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda each: check(run, each, cores(), address), instances)
        checks = dict(zip(instances, found, strict=True))
    ready = [(float(not reason), labels_of(each)) for each, (reason, _) in checks.items()]
    yield family("instance_ready", "gauge", "1 if the instance is ready", *ready)
    dependencies = [
        (float(body[part] == "ok"), (*labels_of(each), ("dependency", name)))
        for each, (_, body) in checks.items()
        for part, name in DEPENDENCIES.items()
        if body.get(part, "off") != "off"
    ]
    yield family("dependency_up", "gauge", "1 if the instance reaches the database or Redis", *dependencies)
    # Those that are not ready come last, because they may hang.
    yield of_apps(run, sorted(instances, key=lambda each: bool(checks[each][0])), address)
    in_rotation = [(float(is_in_rotation(run, each.name)), labels_of(each)) for each in instances]
    yield family("instance_in_rotation", "gauge", "1 if nginx sends the instance requests", *in_rotation)
    workers = []
    for instance in instances:
        if states := instance.server.worker_states(run, instance.name):
            counts = {"busy": 0, "idle": 0, **Counter(states)}
            workers += [(count, (*labels_of(instance), ("state", state))) for state, count in counts.items()]
    yield family("instance_workers", "gauge", "Workers of uWSGI", *workers)


def of_nginx(run: Path) -> Iterator[str]:
    """Source: https://nginx.org/en/docs/http/ngx_http_stub_status_module.html"""
    status, body = read(run / "nginx.sock", "/status")
    if status != 200:
        return
    _, _, handled, requests, *states = map(float, re.findall(r"\d+", body.decode()))
    connections = [(n, (("state", state),)) for n, state in zip(states, ("reading", "writing", "waiting"), strict=True)]
    yield family("nginx_connections", "gauge", "Open connections of clients", *connections)
    yield family("nginx_connections_total", "counter", "Connections that clients opened", (handled, ()))
    help = "Requests, with those for files and for pages of its cache"
    yield family("nginx_requests_total", "counter", help, (requests, ()))
    help = "Responses of 500 and above to clients, of an app or of nginx itself"
    yield family("nginx_failed_requests_total", "counter", help, (count_failures(run / "nginx.failed"), ()))


# Those that the list of failures had before it was emptied.
failures_before = 0


def count_failures(file: Path) -> int:
    """Return how many lines nginx wrote to its list of failures (nginx/nginx.conf). A line is a status."""
    global failures_before
    lines = 0
    with suppress(OSError):
        lines = file.stat().st_size // len("503\n")
        if lines > MOST_FAILURES:
            os.truncate(file, 0)
            failures_before, lines = failures_before + lines, 0
    return failures_before + lines


def of_supervisord(var: Path) -> Iterator[str]:
    with suppress(OSError, HTTPException, Error):
        infos = supervisor.connect(var, timeout=5).getAllProcessInfo()
        states = [(1, (("process", info["name"]), ("state", info["statename"].lower()))) for info in infos]
        yield family("supervisord_process", "gauge", "1 for the state of each process", *states)


def of_machine(certificate: str) -> Iterator[str]:
    disk = shutil.disk_usage(os.environ["VAR_DIR"])
    yield family("disk_free_ratio", "gauge", "Of the disk with the run-time files", (disk.free / disk.total, ()))
    if (PROJECT / "RELEASE.json").exists():
        yield family("release_info", "gauge", "The current release", (1, (("release", PROJECT.name),)))
    if ends := expiry(certificate):
        yield family("certificate_expiry_timestamp_seconds", "gauge", "Of nginx's certificate", (ends, ()))
    with suppress(OSError, ValueError):
        state = json.loads(BACKUPS.read_text())
        times = [
            (state[part], (("part", part),)) for part in ("database", "archive", "uploads", "drill") if part in state
        ]
        yield family("backup_timestamp_seconds", "gauge", "Of the newest backup, archived WAL and drill", *times)


def expiry(certificate: str) -> float:
    """Return when a certificate expires, in seconds since 1970; 0 if there is none that can be read."""
    command = ["openssl", "x509", "-in", certificate, "-noout", "-enddate"]
    with suppress(OSError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return float(ssl.cert_time_to_seconds(done.stdout.strip().partition("=")[2]))
    return 0


def exposition() -> str:
    """Return all metrics of this machine."""
    var, here = Path(os.environ["VAR_DIR"]), instances_here()
    run, address = var / "run", os.environ.get("BIND")
    certificate = os.environ.get("TLS_CERTIFICATE", "") if os.environ.get("TLS") == "on" else ""
    parts = of_instances(run, here, address), of_nginx(run), of_supervisord(var), of_machine(certificate)
    return "".join(text for part in parts for text in part)


def prometheus_configuration(
    targets: Mapping[str, str], rules: str = str(RULES), alertmanager: str = "127.0.0.1:9093"
) -> str:
    """Return a configuration of Prometheus for the metrics of these hosts: name, and address with port.

    `rules` is the path of rules.yml on Prometheus's machine, and `alertmanager` the address of Alertmanager from there.
    """
    hosts = "".join(
        f'      - targets: ["{target}"]\n        labels: {{host: {name}}}\n' for name, target in targets.items()
    )
    return (
        "# For Prometheus, written by the deployment.\n"
        f"global: {{evaluation_interval: 15s}}\nrule_files: [{rules}]\n"
        f'alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}\n'
        "scrape_configs:\n  - job_name: stack\n    scrape_interval: 15s\n    scrape_timeout: 15s\n"
        # The label `instance` is the app's, such as site-a.
        f"    honor_labels: true\n    static_configs:\n{''.join(hosts)}"
    )


def address(variables: Mapping[str, str]) -> str:
    return f"http://127.0.0.1:{variables.get('METRICS_PORT')}/metrics"


def write_prometheus_configuration(var: Path, variables: Mapping[str, str]) -> None:
    """Write VAR_DIR/prometheus.yml for a stack on this machine, if it has a port for Prometheus."""
    if port := variables.get("METRICS_PORT"):
        replace(var / "prometheus.yml", prometheus_configuration({"localhost": f"127.0.0.1:{port}"}))


class Handler(BaseHTTPRequestHandler):
    """Answers Prometheus, and on a private socket nginx, for the page /stack/."""

    # Only where nginx runs.
    stack: Stack | None = None

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.answer("text/plain; version=0.0.4; charset=utf-8", exposition())
        elif not self.stack or self.path not in ("/_stack/rows", "/_stack/diagram", "/_stack/live"):
            self.answer("text/plain", "", 404)
        elif self.path == "/_stack/live":
            self.stream(self.stack)
        else:
            self.stack.wait()
            if self.path == "/_stack/rows":
                self.answer("application/json", json.dumps([row._asdict() for row in self.stack.rows]))
            else:
                self.answer("text/html; charset=utf-8", self.stack.page)

    def answer(self, kind: str, text: str, status: int = 200) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, stack: Stack) -> None:
        """Send each reading as a server-sent event. The browser connects again, and so the site looks who it is."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        seen, end = 0, time.monotonic() + LONGEST_STREAM
        with suppress(OSError):
            while time.monotonic() < end:
                seen = stack.wait(seen)
                self.wfile.write(f"data: {stack.page}\n\n".encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Do nothing: a scrape every few seconds is not worth a line."""


class UnixServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


def serve_stack(file: Path) -> None:
    """Read the stack, and show it on a private socket.

    STACK_HOSTS names the hosts, with the addresses of their metrics: `edge-1= app-1=10.0.0.2:9145`.
    """
    hosts = dict(each.split("=") for each in os.environ.get("STACK_HOSTS", "=").split())
    Handler.stack = Stack(exposition, hosts, diagram)
    file.unlink(missing_ok=True)
    for run in (Handler.stack.run, UnixServer(str(file), Handler).serve_forever):
        threading.Thread(target=run, daemon=True).start()


def main() -> None:
    # A container reads the settings from a file, as nginx's does.
    if "ENV_FILE" in os.environ:
        os.environ.update(read_file(ENV_FILE))
    if port := os.environ.get("METRICS_PORT"):
        if "edge" in os.environ.get("GROUPS", "edge"):
            serve_stack(Path(os.environ["VAR_DIR"]) / "run/stack.sock")
        ThreadingHTTPServer((os.environ.get("METRICS_ADDRESS", "127.0.0.1"), int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
