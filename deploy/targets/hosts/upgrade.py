"""A rolling upgrade of the hosts' operating systems (`make upgrade-hosts`). It runs on the controller."""

import contextlib
import json
import subprocess
import time
from collections.abc import Sequence

from deploy.core.console import Failed, step

from . import cluster
from .fleet import HOST_COMMAND, Fleet

# With the new packages that a newer kernel or library needs. Settings that were changed on the host stay.
APT = "DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold"
UPGRADE = f"{APT} --yes --with-new-pkgs upgrade"
PENDING = (
    f"set -e; {APT} update >&2; {APT} --simulate --with-new-pkgs upgrade; find /run -maxdepth 1 -name reboot-required"
)
BOOT = "cat /proc/sys/kernel/random/boot_id"
# Seconds. Large servers test their memory first.
BACK_WITHIN = 600
READY_WITHIN = 120


def order(fleet: Fleet) -> list[str]:
    """Return the hosts in the order of their upgrades. The first one holds the lock (fleet.py), so it is the last.

    A cluster's primary is upgraded after its standbys, so that writes pause once.
    """
    first, *others = fleet.hosts
    members = cluster.members(fleet) if cluster.hosts(fleet) else {}
    others.sort(key=lambda host: host in members and cluster.is_primary(members[host]))
    return [*others, first]


def pending(fleet: Fleet, host: str) -> str:
    """Return what a host waits for, in words; empty if it is up to date."""
    lines = fleet.ask(host, PENDING).splitlines()
    packages = sum(line.startswith("Inst ") for line in lines)
    return (
        f"{packages} newer package{'s' * (packages > 1)}"
        if packages
        else "a reboot"
        if "/run/reboot-required" in lines
        else ""
    )


def interruption(fleet: Fleet, host: str) -> str:
    """Return what visitors notice while a host is away, as a part of a sentence. Empty: they notice nothing."""
    groups = fleet.groups_of(host)
    alone = [group for group in groups if fleet.groups[group] == [host]]
    if "edge" in alone:
        return ". It is the only edge: nobody can connect until it is back"
    if "edge" in groups and not fleet.variables[host].get("virtual_addresses"):
        return ". No virtual address: clients that connect to this edge wait until it is back"
    if alone:
        return f". It is the only host in {' and '.join(alone)}: visitors get 503 with Retry-After until it is back"
    return ""


def confirm(hosts: Sequence[str]) -> None:
    """Ask before hosts whose absence visitors notice. Raises Failed unless the person says yes."""
    if not hosts:
        return
    try:
        answer = input(f"Visitors notice the upgrade of {' and '.join(hosts)}. Type yes to continue: ")
    except EOFError:
        print()
        raise Failed("Nothing was upgraded: there is no terminal to ask. FORCE=yes upgrades without asking") from None
    if answer != "yes":
        raise Failed("Nothing was upgraded")


def upgrade(fleet: Fleet, host: str) -> None:
    """Drain a host, upgrade its packages, reboot it, and wait until every service is ready."""
    drain(fleet, host)
    with step("upgrade the packages"):
        fleet.ask(host, UPGRADE, timeout=3600)
    # After any upgrade, because a running process keeps the old libraries.
    with step("reboot, and wait until it is back"):
        reboot(fleet, host)
    with step("wait until every service is ready"):
        wait_until_ready(fleet, within=READY_WITHIN)


def drain(fleet: Fleet, host: str) -> None:
    """Take a host out of service with no failed request. A reboot or a deploy brings it back."""
    if host in fleet.serving:
        with step(f"drain {host}, a minute at most"):
            fleet.ask(host, f"{HOST_COMMAND} drain")
    if host in cluster.hosts(fleet):
        cluster.drain(fleet, host)


def reboot(fleet: Fleet, host: str) -> None:
    before, deadline = fleet.ask(host, BOOT), time.monotonic() + BACK_WITHIN
    with contextlib.suppress(Failed, subprocess.TimeoutExpired):
        fleet.ask(host, "systemctl reboot")
    while time.monotonic() < deadline:
        with contextlib.suppress(Failed, subprocess.TimeoutExpired):
            if fleet.ask(host, BOOT) != before:
                return
        time.sleep(1)
    raise Failed(f"{host} did not come back within {BACK_WITHIN // 60} minutes: look at its console")


def wait_until_ready(fleet: Fleet, within: float) -> None:
    """Return when every service of the fleet is ready. Raises Failed after `within` seconds, with the others."""
    deadline = time.monotonic() + within
    while faults := [
        *(fault for host in fleet.hosts for fault in why_not_ready(fleet, host)),
        *unheld(fleet),
        *cluster.faults(fleet),
    ]:
        if time.monotonic() >= deadline:
            raise Failed("\n".join(faults))
        time.sleep(1)


def why_not_ready(fleet: Fleet, host: str) -> list[str]:
    try:
        services = json.loads(fleet.ask(host, f"{HOST_COMMAND} status"))["services"]
    except (Failed, ValueError, subprocess.TimeoutExpired) as error:
        return [str(error)]
    return [f"{host}: {name}: {state}" for name, state in services.items() if state != "ready"]


def unheld(fleet: Fleet) -> list[str]:
    return [f"{address} is on no edge" for address, holders in fleet.virtual_addresses().items() if not holders]
