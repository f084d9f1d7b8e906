"""The rules of Prometheus, tested by promtool, and the configuration of Alertmanager."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.core import alertmanager, metrics
from deploy.core.console import Failed
from tests.servers import program

pytestmark = pytest.mark.slow

MAIL = {"ADMINS": "ann@example.org,bob@example.org", "DEFAULT_FROM_EMAIL": "shop@example.org"}
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(metrics.RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
MAIL_JOB = {"job": "jobs.mail.send"}

Series = dict[str, str]


def counts(each: float) -> str:
    """Return a counter that grows each minute, in promtool's notation."""
    return f"0+{each}x60"


def histogram(name: str, labels: str, each: float, seconds: float) -> Series:
    """Return the metrics of so many events each minute, of so many seconds."""
    buckets = {
        f'{name}_bucket{{{labels},le="{limit}"}}': counts(each if seconds <= float(limit) else 0)
        for limit in ("0.5", "2.5", "+Inf")
    }
    return buckets | {f"{name}_count{{{labels}}}": counts(each)}


def requests(app: str, ok: float, failed: float, seconds: float = 0.01, route: str = "/") -> Series:
    """Return the metrics of so many requests of an app each minute."""
    name, own = "http_request_duration_seconds", f'app="{app}",instance="{app}-a",route="{route}"'
    return histogram(name, f'{own},status="200"', ok, seconds) | histogram(name, f'{own},status="503"', failed, seconds)


def attempts(result: str, each: float) -> Series:
    """Return the metrics of so many attempts of a job each minute."""
    return {f'job_duration_seconds_count{{app="jobs",job="{MAIL_JOB["job"]}",result="{result}"}}': counts(each)}


def instances(*states: tuple[str, str], host: str = "h") -> Series:
    """Return whether each instance is ready and in rotation, as words of promtool's notation."""
    found: Series = {}
    for letter, (ready, rotation) in zip("ab", states, strict=True):
        labels = f'app="site",instance="site-{letter}",host="{host}"'
        found |= {f"instance_ready{{{labels}}}": ready, f"instance_in_rotation{{{labels}}}": rotation}
    return found


def gauge(name: str, values: str, labels: str = "") -> Series:
    return {f"{name}{{{labels}}}": values}


ON, OFF = "1+0x60", "0+0x60"


@dataclass
class Case:
    """At `minute`, only the alert with these labels fires, if there are any; at `quiet`, none yet."""

    alert: str
    series: Series
    minute: int = 60
    quiet: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def test(self) -> dict[str, Any]:
        """A test in promtool's format, with what Prometheus reads once a minute."""
        rule = ALERTS[self.alert]
        annotations = rule["annotations"] | {"summary": self.summary}
        fires = [{"exp_labels": rule["labels"] | self.labels, "exp_annotations": annotations}] if self.labels else []
        moments = [
            {"eval_time": f"{minute}m", "alertname": self.alert, "exp_alerts": expected}
            for minute, expected in ((self.quiet, []), (self.minute, fires))
        ]
        series = [{"series": name, "values": values} for name, values in self.series.items()]
        return {"interval": "1m", "input_series": series, "alert_rule_test": moments}


SITE, HOST, JOBS = {"app": "site"}, {"host": "h"}, {"app": "jobs"}
SITE_A = {"app": "site", "instance": "site-a", "host": "h"}
CASES = [
    Case("ErrorRate", requests("site", 94, 6) | requests("api", 96, 4), 12, 5, SITE, "site: 6% of the requests fail"),
    Case(
        *("Latency", requests("site", 10, 0, seconds=2) | requests("api", 10, 0), 17, 10, SITE),
        "site: 5% of the requests take more than 2.4s",
    ),
    # Live connections are no slow requests.
    Case("Latency", requests("api", 10, 0, seconds=2, route="/api/v1/live/questions/{}")),
    Case("NoReadyInstance", instances((OFF, ON), (OFF, ON)), 2, 0, SITE, "site: no instance is ready"),
    Case("NoReadyInstance", instances((OFF, ON), (ON, ON))),
    # One of two hosts is enough.
    Case("NoReadyInstance", instances((OFF, ON), (OFF, ON)) | instances((ON, ON), (OFF, ON), host="i")),
    # The last worker of the jobs ends after five minutes.
    Case(
        *("NoReadyInstance", gauge("jobs", "0+0x5 stale", 'app="jobs",instance="jobs-a",status="ready"'), 8, 6, JOBS),
        "jobs: no instance is ready",
    ),
    *(
        Case("InstanceNotServing", instances(a, (ON, ON)), 11, 9, SITE_A, "site-a on h is not ready or out of rotation")
        for a in ((OFF, ON), (ON, OFF))
    ),
    # A rolling restart.
    Case("InstanceNotServing", instances(("0 0 1+0x60", "0 0 1+0x60"), ("1 1 0 0 1+0x60", ON)), 12),
    Case(
        *("QueueGrows", gauge("jobs_oldest_due_seconds", "0+60x60", 'app="jobs",instance="jobs-b"'), 12, 10, JOBS),
        "jobs: work has waited for 12m 0s",
    ),
    Case(
        *("QueueGrows", histogram("http_queue_seconds", 'app="site"', 9, seconds=2), 12, 5, SITE),
        "site: work has waited for 2.4s",
    ),
    Case(
        "DatabaseOrRedisDown",
        gauge("dependency_up", OFF, 'dependency="redis"') | gauge("dependency_up", ON, 'dependency="database"'),
        *(2, 0, {"dependency": "redis"}, "redis: an instance gets no answer"),
    ),
    Case(
        *("DiskNearlyFull", gauge("disk_free_ratio", "0.12-0.01x5 0.07+0x60", 'host="h"'), 14, 12, HOST),
        "h: 7% of the disk is free",
    ),
    Case(
        "CertificateExpires",
        gauge("certificate_expiry_timestamp_seconds", f"{14 * 24 * 3600 + 600}+0x90", 'host="h"'),
        *(72, 70, HOST, "h: the certificate expires in 13d 22h 58m 0s"),
    ),
    # promtool's clock starts at 0.
    Case(
        "BackupTooOld",
        gauge("backup_timestamp_seconds", f"-{26 * 3600 - 600}+0x60", 'host="h",part="database"'),
        *(22, 20, HOST | {"part": "database"}, "h: the newest backup of database is 1d 2h 12m 0s old"),
    ),
    Case(
        "ArchiveTooOld",
        gauge("backup_timestamp_seconds", "-1500+0x60", 'host="h",part="archive"'),
        *(12, 10, HOST | {"part": "archive"}, "h: all that was written in the last 37m 0s is in no backup"),
    ),
    Case(
        "RestoreDrillTooOld",
        gauge("backup_timestamp_seconds", f"-{8 * 86400}+0x90", 'host="h",part="drill"'),
        *(62, 60, HOST | {"part": "drill"}, "h: the last restore drill that succeeded is 8d 1h 2m 0s ago"),
    ),
    Case("JobsFail", gauge("jobs", "0 0 1+0x60", 'app="jobs",status="failed"'), 2, 1, JOBS, "jobs: failures: 1"),
    Case("JobsFail", attempts("failed", 1), 10, 2, JOBS | MAIL_JOB, "jobs: failures of jobs.mail.send: 10"),
    Case("JobsFail", attempts("done", 9)),
    Case(
        *("MetricsUnavailable", gauge("up", "1 0+0x60", 'job="stack",host="h"'), 4, 2, HOST | {"job": "stack"}),
        "h: Prometheus cannot read the metrics, so it has no other alert of it",
    ),
]


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules() -> None:
    run(program("promtool", "prometheus"), "check", "rules", str(metrics.RULES))


def test_every_alert_has_a_case_and_says_what_to_do() -> None:
    assert {case.alert for case in CASES if case.labels} == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"].keys() == {"summary", "action"}, name


def test_alerts_fire_in_time(tmp_path: Path) -> None:
    """All cases at once: promtool takes a second to start."""
    file, tests = tmp_path / "tests.yml", [case.test for case in CASES]
    file.write_text(json.dumps({"rule_files": [str(metrics.RULES)], "evaluation_interval": "1m", "tests": tests}))
    run(program("promtool", "prometheus"), "test", "rules", str(file))


@pytest.mark.parametrize(
    ("url", "smarthost", "require_tls"),
    [
        ("smtp://mail.example.org", "mail.example.org:25", False),
        ("smtp+tls://me:p%2Fw@mail.example.org", "mail.example.org:587", True),
        ("smtp+ssl://me:p%2Fw@mail.example.org", "mail.example.org:465", False),
    ],
)
def test_alertmanager_accepts_its_configuration(tmp_path: Path, url: str, smarthost: str, require_tls: bool) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(alertmanager.configuration(MAIL | {"EMAIL_URL": url}, "https://hooks.example.org/x"))
    run(program("amtool", "prometheus-alertmanager"), "check-config", str(file))
    [receiver] = json.loads(file.read_text())["receivers"]
    [mail], [hook] = receiver["email_configs"], receiver["slack_configs"]
    assert (mail["smarthost"], mail["require_tls"], mail["to"]) == (smarthost, require_tls, MAIL["ADMINS"])
    assert mail["auth_password"] == ("p/w" if "@" in url else "")
    assert hook["api_url"] == "https://hooks.example.org/x"


@pytest.mark.parametrize("url", ["", "console:", "file:///tmp"])
def test_without_a_mail_server_and_a_webhook_alerts_go_nowhere(url: str) -> None:
    [receiver] = json.loads(alertmanager.configuration(MAIL | {"EMAIL_URL": url}, ""))["receivers"]
    assert receiver == {"name": "people"}


@pytest.mark.parametrize("url", ["smtp://mail:x", "smtp+ssl://mail:8465", "smtp+tls://mail:465"])
def test_a_mail_server_that_alertmanager_cannot_use(url: str) -> None:
    with pytest.raises(Failed, match="EMAIL_URL"):
        alertmanager.configuration(MAIL | {"EMAIL_URL": url}, "")
