"""Real faults make alerts fire and resolve, through Prometheus, Alertmanager, mail and a webhook.

The waits of the rules are left out here, and their windows are seconds: tests/config/test_prometheus.py tests both.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
import yaml

from deploy.core import alertmanager, metrics, supervisor
from deploy.core.probe import UNCACHED
from tests.environment import PROJECT
from tests.faults import self_signed
from tests.sample import Crowd
from tests.servers import free_port, program, running
from tests.site.jobs.smtp import Server, smtp_server
from tests.stacks import NativeStack, outside
from tests.webhook import webhook

DASHBOARD = PROJECT / "deploy/prometheus/dashboard.json"
# In a query: words of the language, and functions.
WORDS = {"by", "or", "and", "unless", "on"}


@dataclass
class Monitoring:
    """A Prometheus and an Alertmanager of the stack, and where its alerts arrive."""

    prometheus: str
    alertmanager: str
    mail: Server
    hook: Queue[Any]

    def wait_for(self, *wanted: str) -> None:
        """Return when lines that start so arrived at the webhook. Raises queue.Empty after two minutes without any."""
        heard: list[str] = []
        while missing := [start for start in wanted if not any(line.startswith(start) for line in heard)]:
            [attachment] = self.hook.get(timeout=120)["attachments"]
            print(attachment["title"], attachment["text"], f"waiting for {missing}", sep="\n")
            heard += attachment["text"].splitlines()

    def ask(self, path: str, **query: str) -> Any:
        """Return the result of a request to Prometheus's API."""
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params=query).json()
        assert answer["status"] == "success", (query, answer)
        return answer["data"]

    def states(self, alert: str) -> dict[str, str]:
        """Return whether Alertmanager sends an alert of each instance, or leaves it out."""
        found = httpx.get(f"{self.alertmanager}/api/v2/alerts").json()
        named = [each for each in found if each["labels"]["alertname"] == alert]
        return {each["labels"]["instance"]: each["status"]["state"] for each in named}


def scaled(text: str) -> str:
    """Return rules or a configuration of Prometheus with seconds in place of minutes."""
    for pattern, short in (
        (r"for: \w+", "for: 0s"),
        (r"\[5m\]", "[20s]"),
        # A scrape waits in the queue of the site.
        (r"(scrape_\w+): 15s", r"\1: 5s"),
        (r"(evaluation_interval): 15s", r"\1: 1s"),
    ):
        text = re.sub(pattern, short, text)
    return text


@pytest.fixture(scope="module")
def monitoring(stack: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    prometheus = program("prometheus", "prometheus")
    sender = program("prometheus-alertmanager", "prometheus-alertmanager")
    directory, (port, sender_port, hook_port) = tmp_path_factory.mktemp("p"), (free_port() for _ in range(3))
    rules, files = directory / "rules.yml", {name: directory / f"{name}.yml" for name in ("prometheus", "alertmanager")}
    rules.write_text(scaled(metrics.RULES.read_text()))
    targets = {"localhost": f"127.0.0.1:{stack.environment['METRICS_PORT']}"}
    own = metrics.prometheus_configuration(targets, str(rules), f"127.0.0.1:{sender_port}")
    files["prometheus"].write_text(scaled(own))
    with ExitStack() as ending:
        ending.enter_context(outside())
        mail, hook = (
            ending.enter_context(smtp_server(auth_exclude_mechanism=["LOGIN"])),
            ending.enter_context(webhook(hook_port)),
        )
        given = {
            "EMAIL_URL": mail.url,
            "ADMINS": "ann@example.org,bob@example.org",
            "DEFAULT_FROM_EMAIL": "s@example.org",
        }
        configuration = json.loads(alertmanager.configuration(given, f"http://127.0.0.1:{hook_port}/"))
        configuration["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        files["alertmanager"].write_text(json.dumps(configuration))
        options = {"storage.path": directory / "sent", "cluster.listen-address": ""}
        for command, listen, more in (
            (prometheus, port, {"storage.tsdb.path": directory / "data"}),
            (sender, sender_port, options),
        ):
            more |= {
                "config.file": files[Path(command).name.removeprefix("prometheus-")],
                "web.listen-address": f"127.0.0.1:{listen}",
            }
            words = [f"--{name}={value}" for name, value in more.items()]
            ending.enter_context(running([command, "--log.level=warn", *words], listen))
        yield Monitoring(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sender_port}", mail, hook)


@contextmanager
def load(stack: NativeStack, path: str, clients: int) -> Iterator[None]:
    """Send requests for the block, one after another in each client."""
    ended: list[bool] = []

    def send() -> None:
        with stack.client(headers=UNCACHED) as client:
            while not ended:
                client.get(path)

    with ThreadPoolExecutor(clients) as pool:
        sent = [pool.submit(send) for _ in range(clients)]
        try:
            yield
        finally:
            ended.append(True)
    for each in sent:
        each.result()


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def shell(stack: NativeStack, code: str) -> None:
    stack.manage("shell", "--no-imports", "--command", code)


def test_errors_slow_requests_and_failed_jobs(stack: NativeStack, monitoring: Monitoring) -> None:
    shell(stack, "from faults import reject; reject.enqueue()")
    # Twice as many clients as the site has workers: half of them wait in its queue.
    with load(stack, "/faults/sleep?seconds=1.2", 4 * stack.cores), load(stack, "/api/v1/faults/sleep?seconds=x", 1):
        monitoring.wait_for(
            "api: 100% of the requests fail",
            "site: 5% of the requests take more than",
            "site: work has waited for",
            "jobs: failures: 1",
        )
    shell(
        stack,
        "from django_tasks_db.models import DBTaskResult; "
        "DBTaskResult.objects.filter(task_path='faults.reject').delete()",
    )
    monitoring.wait_for(
        "Resolved: api: ",
        "Resolved: site: 5% of the requests",
        "Resolved: site: work has waited",
        "Resolved: jobs: failures",
    )
    wait_until(
        lambda: {"FIRING ErrorRate", "RESOLVED ErrorRate"} <= {mail["Subject"] for _, mail in monitoring.mail.received}
    )
    assert {to for to, _ in monitoring.mail.received} == {"ann@example.org", "bob@example.org"}
    mail = next(mail for _, mail in monitoring.mail.received if mail["Subject"] == "FIRING ErrorRate")
    assert "roll back if a release" in " ".join(str(part.get_payload(decode=True)) for part in mail.walk())


def test_instances_that_are_stopped_or_out_of_rotation(stack: NativeStack, monitoring: Monitoring) -> None:
    link = stack.seen / "run/upstream/site-b"
    stopped = ["site-a", *stack.instances_of("api"), *stack.instances_of("jobs")]
    for instance in stopped:
        stack.stop(instance)
    link.rename(link.with_name("away"))
    try:
        monitoring.wait_for(
            "site-a on localhost is not ready or out of rotation",
            "site-b on localhost is not ready or out of rotation",
            "api: no instance is ready",
            "jobs: no instance is ready",
        )
        # One alert for the api, and not also one for each of its instances.
        states = {"site-a": "active", "site-b": "active", "api-a": "suppressed", "api-b": "suppressed"}
        wait_until(lambda: monitoring.states("InstanceNotServing") == states)
    finally:
        link.with_name("away").rename(link)
        for instance in stopped:
            stack.start(instance)
    stack.wait_ready()
    monitoring.wait_for(
        *(f"Resolved: {name} on localhost" for name in ("site-a", "site-b")),
        *(f"Resolved: {app}: no instance" for app in ("api", "jobs")),
    )


def test_the_database_and_redis_down(stack: NativeStack, monitoring: Monitoring) -> None:
    with stack.outage("database", "stopped"), stack.outage("redis", "stopped"):
        monitoring.wait_for(
            "database: an instance gets no answer",
            "redis: an instance gets no answer",
        )
    stack.wait_ready()
    monitoring.wait_for("Resolved: database: ", "Resolved: redis: ")


def test_no_metrics(stack: NativeStack, monitoring: Monitoring) -> None:
    stack.supervisor.stopProcess("metrics")
    try:
        monitoring.wait_for("localhost: Prometheus cannot read the metrics")
    finally:
        supervisor.restart(stack.supervisor, "metrics")
    monitoring.wait_for("Resolved: localhost: Prometheus")


def queries() -> list[str]:
    """Return each query of the rules and of the dashboard."""
    rules = [rule["expr"] for group in yaml.safe_load(metrics.RULES.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_query_names_metrics_and_labels_that_exist(
    stack: NativeStack, crowd: Crowd, monitoring: Monitoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "REDIS_URL" not in stack.environment:
        pytest.skip("without Redis there are no reads of its cache")
    # Prometheus makes this one.
    known = {"ALERTS": {"alertname", "alertstate"}}

    def read() -> bool:
        for series in monitoring.ask("series", **{"match[]": '{__name__=~".+"}'}):
            known.setdefault(series["__name__"], set()).update(series)
        return {"cache_reads_total", "app:http_errors:ratio_rate5m"} <= known.keys()

    with stack.client(cookies=crowd.people[0].cookies) as client:
        client.get("/")
        client.get("/api/v1/faults/sleep?seconds=x")
    wait_until(read)
    # A stack on this machine has no backup, release and certificate.
    (tmp_path / "backups").write_text('{"database": 1, "archive": 1, "uploads": 1, "drill": 1}')
    monkeypatch.setattr(metrics, "BACKUPS", tmp_path / "backups")
    monkeypatch.setattr(metrics, "PROJECT", tmp_path)
    (tmp_path / "RELEASE.json").touch()
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    for name, labels in re.findall(
        r"^(\w+)\{(.*)\}", "".join(metrics.of_machine(self_signed(tmp_path)["TLS_CERTIFICATE"])), re.MULTILINE
    ):
        known.setdefault(name, {"host"}).update(re.findall(r"(\w+)=", labels))
    found = queries()
    assert len(found) > 30
    for query in found:
        monitoring.ask("query", query=query)
        selected = re.sub(r'"[^"]*"', '""', query)
        labels = re.findall(r"[{,]\s*(\w+)\s*[=!]", selected)
        labels += [word for words in re.findall(r"\bby \(([^)]*)\)", selected) for word in re.split(r",\s*", words)]
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", selected)
        names = {*re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)} - WORDS
        assert names, query
        assert names <= known.keys(), query
        assert {*labels} <= set().union(*(known[name] for name in names)), query
