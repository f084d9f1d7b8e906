"""The configuration of Alertmanager, which sends the alerts of Prometheus. Standard library only."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from deploy.core.console import Failed

# The schemes of EMAIL_URL that name a server.
PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
TITLE = "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}"
TEXT = (
    "{{ range .Alerts.Firing }}{{ .Annotations.summary }}. {{ .Annotations.action }}.\n{{ end }}"
    "{{ range .Alerts.Resolved }}Resolved: {{ .Annotations.summary }}.\n{{ end }}"
)
# An alert, those that follow from it and so are not sent, and the labels in which both are equal.
INHIBITED = [
    ("DatabaseOrRedisDown", "NoReadyInstance|InstanceNotServing", []),
    ("NoReadyInstance", "InstanceNotServing", ["app"]),
]


def configuration(given: Mapping[str, str], url: str) -> str:
    """Return a configuration in JSON, which is YAML too: alerts go to ADMINS by mail, and to a webhook like Slack's.

    `given` are settings; `url` is empty without a webhook. Without both, alerts stay in Alertmanager. Raises Failed if
    Alertmanager cannot use the server of EMAIL_URL.
    """
    receiver: dict[str, Any] = {"name": "people"}
    if given.get("ADMINS") and (server := mail_server(given.get("EMAIL_URL", ""))):
        mail = {"to": given["ADMINS"], "from": given["DEFAULT_FROM_EMAIL"], "headers": {"Subject": TITLE}}
        receiver["email_configs"] = [{**server, **mail, "text": TEXT, "html": "", "send_resolved": True}]
    if url:
        receiver["slack_configs"] = [{"api_url": url, "title": TITLE, "text": TEXT, "send_resolved": True}]
    inhibited = [
        {"source_matchers": [f"alertname={source}"], "target_matchers": [f"alertname=~{targets}"], "equal": labels}
        for source, targets, labels in INHIBITED
    ]
    route = {"receiver": "people", "group_by": ["alertname"], "repeat_interval": "12h"}
    return json.dumps({"route": route, "receivers": [receiver], "inhibit_rules": inhibited}, indent=1)


def mail_server(email_url: str) -> dict[str, Any]:
    """Return Alertmanager's settings for the server of EMAIL_URL; empty without a server. Raises Failed."""
    url = urlsplit(email_url)
    if url.scheme not in PORTS:
        return {}
    try:
        port = url.port or PORTS[url.scheme]
    except ValueError:
        raise Failed("EMAIL_URL: its port should be a number") from None
    if (url.scheme == "smtp+ssl") != (port == PORTS["smtp+ssl"]):
        # Alertmanager has no setting for this.
        raise Failed(
            "EMAIL_URL: for alerts by mail (ADMINS), smtp+ssl:// should have port 465, and others another port"
        )
    return {
        "smarthost": f"{url.hostname}:{port}",
        "auth_username": unquote(url.username or ""),
        "auth_password": unquote(url.password or ""),
        "require_tls": url.scheme == "smtp+tls",
    }
