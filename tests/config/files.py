"""Values from the servers' own files, for tests that compare them."""

import configparser
import re
from typing import Any

import yaml

from deploy.core.apps import APPS, App
from deploy.core.settings import PROJECT
from deploy.servers import Server

UNITS = {"": 1, "s": 1, "k": 1024, "m": 1024**2}


def apps(kind: str) -> list[App]:
    return [app for app in APPS.values() if app.server.kind == kind]


def nginx(directive: str, app: App | None = None) -> list[int]:
    """Return every value of a directive in nginx's files, or in an app's: seconds, or bytes."""
    files = (PROJECT / "nginx" / (app.name if app else "")).rglob("*.conf")
    text = "\n".join(file.read_text() for file in files)
    found = [int(n) * UNITS[unit] for n, unit in re.findall(rf"^\s*{directive} (?:\d+ )?(\d+)([skm]?);", text, re.M)]
    assert found, f"no {directive}"
    return found


def supervisor(name: str, option: str) -> int:
    """Return a number in deploy/supervisor/<name>.conf; `name` is a server kind, or nginx."""
    file = configparser.RawConfigParser()
    file.read(PROJECT / f"deploy/supervisor/{name}.conf")
    [program] = file.sections()
    return file.getint(program, option)


def unit_timeout(server: Server) -> int:
    """Return how long systemd waits for a server kind's unit to stop, in seconds."""
    name = server.unit.partition("{")[0].removeprefix("tandem-")
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", (PROJECT / f"deploy/systemd/{name}.service").read_text(), re.M)
    return int(seconds)


def compose(file: str, service: str) -> dict[str, Any]:
    """Return a service of a file in deploy/docker, with what it extends."""
    found: dict[str, Any] = yaml.safe_load((PROJECT / "deploy/docker" / file).read_text())["services"][service]
    base = found.pop("extends", {})
    base = {"service": base} if isinstance(base, str) else base
    return (compose(base.get("file", file), base["service"]) if base else {}) | found


def grace_period(app: App) -> int:
    """Return how long the engine waits for an instance's container to stop, in seconds."""
    return int(compose(f"{app.name}.yml", app.name)["stop_grace_period"].removesuffix("s"))


def seconds_until_noticed() -> int:
    """Return how long a lost host stays unnoticed on an open connection."""
    text = (PROJECT / "deploy/ansible/roles/base/tasks/main.yml").read_text()
    found = re.findall(r"^ +net\.ipv4\.tcp_keepalive_\w+ = (\d+)$", text, re.M)
    idle, interval, probes = map(int, found)
    return idle + interval * probes
