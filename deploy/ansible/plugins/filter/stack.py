"""Filters for the playbooks: the apps of deploy/apps.toml, and the settings of .env.example."""

import ipaddress
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(DEPLOY.parent))

from deploy.core import alertmanager, backups, elsewhere, metrics, nginx, settings  # noqa: E402
from deploy.core.apps import APPS  # noqa: E402
from deploy.core.certificate import why_no_authorities, why_no_pair  # noqa: E402
from deploy.core.console import Failed  # noqa: E402

# Settings of .env.example that an inventory does not set: hosts get them from its other variables, or do not use them.
NOT_SET = settings.COMPOSE_ONLY | {"ADDRESS", "ALLOWED_HOSTS", "CORES", "PLAIN_PORT", "PORT"}
NOT_SET |= {"CA_FILE", "TLS", "TLS_CERTIFICATE", "TLS_KEY"}
# systemd and python-dotenv read these differently inside single quotes.
UNQUOTABLE = re.compile(r"['\\\n]|\$\{")


def registered_apps(groups: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the apps of the registry, with the hosts of their groups. `groups` is Ansible's variable."""
    return [
        {
            "name": app.name,
            "hosts": sorted(groups.get(app.name, [])),
            "listens": app.server.listens,
            "always_unix": app.server.always_unix,
            "manage": app.manage,
            "prepare": bool(app.prepare),
            # The units that start at boot, and the file in deploy/ that they share.
            "units": sorted({app.server.unit.format(instance=instance) for instance in app.instances}),
            "unit_file": "systemd/{}.service".format(
                app.server.unit.format(instance="").removeprefix("tandem-"),
            ),
        }
        for app in APPS.values()
    ]


def unit_name(file: str) -> str:
    """Return a unit's name on a host. nginx's replaces the one of Debian's package."""
    name = Path(file).name
    return name if name == "nginx.service" else f"tandem-{name}"


def app_ports(app: str, cores: int | str) -> list[int]:
    """Return the TCP ports of an app's instances on a host with this many cores."""
    return [port for instance in APPS[app].instances for port in instance.ports(int(cores))]


def host_settings(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that are not secret: the defaults of .env.example, overridden by the inventory's settings."""
    known = settings.parse(settings.EXAMPLE.read_text()) | {name: as_text(value) for name, value in given.items()}
    return {name: value for name, value in known.items() if name not in NOT_SET and not settings.is_secret(name)}


def trusted_proxies(given: Mapping[str, Any]) -> list[str]:
    """Return the networks of TRUSTED_PROXIES. Raises Failed if one is malformed."""
    return nginx.networks("TRUSTED_PROXIES", host_settings(given))


def app_secrets(given: Mapping[str, str], apps: Sequence[str]) -> dict[str, str]:
    """Return the secrets that at least one of these apps gets."""
    others = settings.COMPOSE_ONLY | settings.HOST_SECRETS.keys() | backups.SETTINGS
    return {
        name: str(value)
        for name, value in given.items()
        if name not in others and any(name not in APPS[app].without for app in apps)
    }


def as_text(value: Any) -> str:
    """Return a value as the settings have it. YAML makes a boolean of on and off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else str(value)


def setting_faults(given: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """Return a line for each mistake in `settings` and `secrets` of an inventory. No line has a value of a secret."""
    known = settings.parse(settings.EXAMPLE.read_text())
    found = []
    for name, value in given.items():
        text = as_text(value)
        shape, words = settings.SHAPES.get(name, (".*", ""))
        if name not in known:
            found.append(f"settings: {name} is not in .env.example")
        elif name in NOT_SET:
            found.append(f"settings: {name} follows from the other variables of an inventory, or hosts do not use it")
        elif settings.is_secret(name):
            found.append(f"settings: {name} is a secret: move it to `secrets`, in an encrypted file")
        elif UNQUOTABLE.search(text):
            found.append(f"settings: {name} should have no single quote, backslash, line break or ${{")
        elif not re.fullmatch(shape, text):
            found.append(f"settings: {name} is {text!r}: should be {words}")
        elif (name, text) == ("STACK_PAGE", "everybody"):
            found.append("settings: STACK_PAGE is everybody, and others reach a host: should be staff")
    try:
        trusted_proxies(given)
    except Failed as error:
        found.append(f"settings: {error}")
    unknown = [name for name in secrets if name not in known and name not in settings.HOST_SECRETS]
    found += [f"secrets: {name} is not in .env.example" for name in unknown]
    wanted = [name for name in settings.SECRETS if name in known]
    found += [f"secrets: {name} is missing; `make secrets` makes it" for name in wanted if not secrets.get(name)]
    whole = {**host_settings(given), **secrets}
    found += settings.mail_faults(whole)
    found += [f"secrets: {fault}" for fault in (*elsewhere.faults(secrets), *backups.faults(whole))]
    return found


def backup_directory(url: str) -> str:
    """Return the directory of a BACKUP_URL; empty if it is a bucket."""
    place = backups.parse(url)
    return place.path if place and not place.bucket else ""


def authorities_fault(file: str) -> str:
    """Return why no certificate can be verified by the authorities in a file; empty if one can, or without a file."""
    return why_no_authorities(Path(file)) if file else ""


def certificate_fault(certificate: str, key: str) -> str:
    """Return why nginx cannot serve with a certificate and its key; empty if it can."""
    return why_no_pair(Path(certificate), Path(key))


def prometheus_configuration(
    addresses: Sequence[str], names: Sequence[str], port: int | str, rules: str = str(metrics.RULES)
) -> str:
    """Return a configuration of Prometheus for the hosts with these addresses and names, and a file of rules."""
    targets = dict(zip(names, (f"{each}:{port}" for each in addresses), strict=True))
    return metrics.prometheus_configuration(targets, rules)


def alert_fault(given: Mapping[str, str]) -> str:
    """Return why Alertmanager cannot send mail with these settings and secrets; empty if it can, or sends none."""
    try:
        alertmanager.configuration(given, "")
    except Failed as failed:
        return str(failed)
    return ""


def stack_hosts(names: Sequence[str], here: str, variables: Mapping[str, Any], port: int | str) -> str:
    """Return STACK_HOSTS (deploy/core/metrics.py): each host with the address of its metrics, empty for this one's."""
    others = {name: f"{variables[name]['private_address']}:{port}" for name in names if name != here}
    return " ".join(f"{name}={others.get(name, '')}" for name in names)


def virtual_address_fault(addresses: Any, edges: int, used: Sequence[str]) -> str:
    """Return why the edges cannot share these addresses; empty if they can. `used` are the hosts' own addresses."""
    if not isinstance(addresses, list):
        return "should be a list, for example [192.0.2.10]"
    versions = []
    for address in map(str, addresses):
        if address in used:
            return f"{address} is a host's own address: should be one that no host has"
        try:
            versions.append(ipaddress.ip_address(address).version)
        except ValueError:
            return f"{address!r} should be an address without a network, for example 192.0.2.10"
    if versions and 4 not in versions:
        return "should have one of IPv4, by which the edges agree"
    if versions and edges < 2:
        return "edge has one host and should have two or more, between which the addresses move"
    return ""


def device_of(address: str, facts: Mapping[str, Any]) -> str:
    """Return the network interface of a host whose network has this address; empty if none has."""
    wanted = ipaddress.ip_address(address)
    for name in facts["interfaces"]:
        device = facts.get(name.replace("-", "_"), {})
        for own in (device.get("ipv4", {}), *device.get("ipv4_secondaries", []), *device.get("ipv6", [])):
            if own and wanted in ipaddress.ip_interface(f"{own['address']}/{own['prefix']}").network:
                return str(name)
    return ""


def wrong_domains(names: Sequence[Any]) -> list[str]:
    """Return those of the names that nginx and Django would read differently, or not at all."""
    return [str(name) for name in names if not settings.is_host(str(name))]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "alert_fault": alert_fault,
            "alertmanager_configuration": alertmanager.configuration,
            "app_ports": app_ports,
            "backup_directory": backup_directory,
            "bucket_origin": nginx.bucket_origin,
            "authorities_fault": authorities_fault,
            "certificate_fault": certificate_fault,
            "device_of": device_of,
            "virtual_address_fault": virtual_address_fault,
            "wrong_domains": wrong_domains,
            "app_secrets": app_secrets,
            "host_settings": host_settings,
            "pgbackrest_options": backups.pgbackrest_options,
            "prometheus_configuration": prometheus_configuration,
            "registered_apps": registered_apps,
            "restic_environment": backups.restic_environment,
            "setting_faults": setting_faults,
            "stack_hosts": stack_hosts,
            "trusted_proxies": trusted_proxies,
            "unit_name": unit_name,
            "with_authorities": elsewhere.with_authorities,
        }
