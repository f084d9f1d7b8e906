"""PostgreSQL on several hosts of the group data: Patroni's members of the cluster, and changes of its primary."""

import json
import subprocess
from typing import Any

from deploy.core.console import Failed, step

from .fleet import Fleet

PATRONICTL = "patronictl --config-file /etc/patroni/config.yml"


def hosts(fleet: Fleet) -> list[str]:
    """Return the hosts of the cluster; none if PostgreSQL is on one host, or runs elsewhere."""
    return fleet.groups["data"] if len(fleet.groups["data"]) > 1 else []


def members(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """Return Patroni's members by their host, as the first host that answers knows them. Raises Failed if none does."""
    said = f"{fleet.name} has no cluster of PostgreSQL: group data should have three hosts"
    for host in hosts(fleet):
        try:
            listed = json.loads(fleet.ask(host, f"{PATRONICTL} list --format json"))
        except (Failed, ValueError, subprocess.TimeoutExpired) as error:
            said = str(error)
        else:
            return {member["Member"]: member for member in listed}
    raise Failed(said)


def is_running(member: dict[str, Any]) -> bool:
    return member["State"] in ("running", "streaming")


def is_primary(member: dict[str, Any]) -> bool:
    return bool(member["Role"] == "Leader")


def describe(member: dict[str, Any] | None) -> str:
    if not member:
        return "not in the cluster"
    if is_primary(member):
        said = "primary"
    else:
        standby = "synchronous standby" if member["Role"] == "Sync Standby" else "standby"
        said = f"{standby}, {member.get('Lag in MB', 'unknown')} MB behind"
    return said if is_running(member) else f"{said}, {member['State']}"


def faults(fleet: Fleet) -> list[str]:
    """Return what keeps the cluster from losing a host without a loss; empty if nothing, or without a cluster."""
    try:
        known = members(fleet) if hosts(fleet) else {}
    except Failed as failed:
        return [str(failed)]
    found = [
        f"{host}: PostgreSQL: {describe(known.get(host))}"
        for host in hosts(fleet)
        if host not in known or not is_running(known[host])
    ]
    if known and not any(member["Role"] == "Sync Standby" for member in known.values()):
        found.append("PostgreSQL: no synchronous standby")
    return found


def switch_over(fleet: Fleet) -> str:
    """Make the synchronous standby the primary. Return its host."""
    known = members(fleet)
    primary = next((host for host, member in known.items() if is_primary(member)), "")
    standby = next((host for host, member in known.items() if member["Role"] == "Sync Standby"), "")
    if not primary or not standby:
        raise Failed(f"The cluster has no {'synchronous standby' if primary else 'primary'}: see `make fleet`")
    with step(f"switch over from {primary} to {standby}"):
        fleet.ask(primary, f"{PATRONICTL} switchover --force --candidate {standby}")
    return standby


def drain(fleet: Fleet, host: str) -> None:
    """Stop PostgreSQL on a host, after a switchover if it is the primary."""
    known = members(fleet)
    if down := [each for each in hosts(fleet) if each != host and not is_running(known.get(each, {"State": ""}))]:
        raise Failed(f"PostgreSQL does not run on {', '.join(down)}. Without {host}, no host would accept writes")
    if host in known and is_primary(known[host]):
        switch_over(fleet)
    with step(f"stop PostgreSQL on {host}"):
        fleet.ask(host, "systemctl stop patroni")
