"""What the playbooks make of an inventory: its apps, settings, secrets and mistakes."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.core.apps import APPS, PROJECT
from deploy.core.settings import EXAMPLE, HOST_SECRETS, SECRETS, parse
from tests.faults import self_signed

pytestmark = pytest.mark.slow

ANSIBLE = PROJECT / "deploy/ansible"
SHAPES = sorted(path.name for path in (ANSIBLE / "inventories").iterdir())
ONE, CLUSTER = "one-vm", "seven-hosts"


@pytest.fixture(scope="module")
def filters() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("stack", ANSIBLE / "plugins/filter/stack.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.FilterModule().filters()
    return found


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return {name: make() for name, make in SECRETS.items()}


def test_an_app_runs_on_the_hosts_of_its_group(filters: dict[str, Any]) -> None:
    first, *others = APPS
    found = {app["name"]: app for app in filters["registered_apps"]({first: ["two", "one"]})}
    assert found[first]["hosts"] == ["one", "two"]
    assert not any(found[other]["hosts"] for other in others)


def test_an_app_has_its_units(filters: dict[str, Any]) -> None:
    for app in filters["registered_apps"]({}):
        assert (ANSIBLE.parent / app["unit_file"]).is_file()
        installed = filters["unit_name"](app["unit_file"]).removesuffix(".service")
        assert {re.sub("@.*", "@", unit) for unit in app["units"]} == {installed}


@pytest.mark.parametrize("app", [app for app in APPS.values() if app.server.listens], ids=lambda app: app.name)
def test_ports_follow_from_the_registry(filters: dict[str, Any], app: Any) -> None:
    assert filters["app_ports"](app.name, "4") == [port for each in app.instances for port in each.ports(4)]


def test_no_two_apps_share_a_port(filters: dict[str, Any]) -> None:
    media = yaml.safe_load((ANSIBLE / "group_vars/all.yml").read_text())["media_port"]
    ports = [
        media,
        *(port for app in APPS.values() if app.server.listens for port in filters["app_ports"](app.name, 99)),
    ]
    assert len(ports) == len(set(ports))


def test_settings_win_over_the_defaults(filters: dict[str, Any]) -> None:
    found = filters["host_settings"]({"LOG_LEVEL": "DEBUG", "DEBUG_UPSTREAM": True, "UPLOAD_LIMIT_MB": 20})
    assert (found["LOG_LEVEL"], found["DEBUG_UPSTREAM"], found["UPLOAD_LIMIT_MB"]) == ("DEBUG", "on", "20")
    assert not {"SECRET_KEY", "DATABASE_URL", "POSTGRES_PASSWORD", "CPUS"} & found.keys()


def test_an_app_gets_its_secrets_only(filters: dict[str, Any]) -> None:
    given = {name: "value" for name in parse(EXAMPLE.read_text()) if name in SECRETS} | {"SMS_TOKEN": "value"}
    given |= dict.fromkeys(HOST_SECRETS, "value")
    for app in APPS.values():
        found = filters["app_secrets"](given, [app.name])
        assert "SMS_TOKEN" in found
        assert not {*app.without, *HOST_SECRETS, "POSTGRES_PASSWORD", "REDIS_PASSWORD"} & found.keys()
    assert filters["app_secrets"](given, []) == {}


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("LOG_LEVLE", "INFO", "is not in .env.example"),
        ("PORT", "80", "follows from the other variables"),
        ("REDIS_URL", "redis://elsewhere", "is a secret"),
        ("UPLOAD_LIMIT_MB", "many", "should be a number of megabytes"),
        ("LOG_LEVEL", "it's", "single quote"),
        ("TRUSTED_PROXIES", "10.0.0.0/99", "should be networks"),
        ("EMAIL_VERIFICATION", "mandatory", "set EMAIL_URL"),
    ],
)
def test_a_malformed_setting(
    filters: dict[str, Any], secrets: dict[str, str], name: str, value: str, fault: str
) -> None:
    [line] = filters["setting_faults"]({name: value}, secrets)
    assert name in line
    assert fault in line


def check(inventory: Path) -> str:
    """Return what the check of an inventory reports."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    play: list[str | Path] = [ansible, "--inventory", inventory, ANSIBLE / "inventory.yml"]
    environment = os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg")}
    done = subprocess.run(play, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def write(path: Path, shape: str, secrets: dict[str, str], **variables: Any) -> dict[str, Any]:
    inventory: dict[str, Any] = yaml.safe_load((ANSIBLE / f"inventories/{shape}/hosts.yml").read_text())
    inventory["all"]["vars"] |= {"secrets": secrets} | variables
    path.write_text(yaml.safe_dump(inventory))
    return inventory


@pytest.mark.parametrize("shape", SHAPES)
def test_the_examples_have_no_mistake(tmp_path: Path, secrets: dict[str, str], shape: str) -> None:
    write(tmp_path / "hosts.yml", shape, secrets | (in_cluster() if shape == CLUSTER else {}))
    assert check(tmp_path / "hosts.yml") == ""


def in_cluster() -> dict[str, str]:
    """Return the secrets that several data hosts need beside those of one."""
    bucket = {"S3_URL": "https://k:s@s3.example.org/bucket"} if "S3_URL" in parse(EXAMPLE.read_text()) else {}
    backups = {"BACKUP_URL": "s3://k:s@s3.example.org/backups"}
    return {name: make() for name, make in HOST_SECRETS.items()} | bucket | backups


def test_a_cluster_needs_three_hosts_and_its_secrets(tmp_path: Path, secrets: dict[str, str]) -> None:
    file = tmp_path / "hosts.yml"
    inventory = write(file, CLUSTER, secrets)
    del inventory["data"]["hosts"]["data-3"], inventory["all"]["hosts"]["data-3"]
    file.write_text(yaml.safe_dump(inventory))
    said = check(file)
    assert "has 2 hosts; should have one, or three for a cluster" in said
    for name in in_cluster():
        assert name in said


def test_a_key_of_another_certificate(tmp_path: Path, secrets: dict[str, str]) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (self_signed(tmp_path / name) for name in ("one", "other"))
    own = {"tls": "own", "tls_certificate": one["TLS_CERTIFICATE"], "tls_key": other["TLS_KEY"]}
    write(tmp_path / "hosts.yml", SHAPES[0], secrets, **own)
    assert f"{own['tls_key']} is not the key of" in check(tmp_path / "hosts.yml")
    write(tmp_path / "hosts.yml", SHAPES[0], secrets, **own | {"tls_key": one["TLS_KEY"]})
    assert check(tmp_path / "hosts.yml") == ""


@pytest.mark.parametrize(
    ("addresses", "edges", "fault"),
    [
        ("192.0.2.9", 2, "should be a list"),
        ([], 1, ""),
        (["192.0.2.9", "2001:db8::9"], 2, ""),
        (["192.0.2.9"], 1, "edge has one host"),
        (["192.0.2.1"], 2, "192.0.2.1 is a host's own address"),
        (["192.0.2.9/24"], 2, "should be an address without a network"),
        (["www.example.org"], 2, "should be an address"),
        (["2001:db8::9"], 2, "should have one of IPv4"),
    ],
)
def test_virtual_addresses(filters: dict[str, Any], addresses: Any, edges: int, fault: str) -> None:
    found = filters["virtual_address_fault"](addresses, edges, ["192.0.2.1", "192.0.2.2"])
    assert fault in found
    assert bool(found) == bool(fault)


def test_the_interface_of_a_virtual_address(filters: dict[str, Any]) -> None:
    facts = {
        "interfaces": ["lo", "br-lan", "eth0", "down"],
        "lo": {"ipv4": {"address": "127.0.0.1", "prefix": "8"}},
        "br_lan": {"ipv4": {"address": "10.0.0.2", "prefix": "24"}, "ipv6": [{"address": "fe80::1", "prefix": "64"}]},
        "eth0": {
            "ipv4": {"address": "192.0.2.2", "prefix": "24"},
            "ipv4_secondaries": [{"address": "198.51.100.2", "prefix": "28"}],
            "ipv6": [{"address": "2001:db8::2", "prefix": "64"}],
        },
    }
    wanted = {
        "10.0.0.9": "br-lan",
        "192.0.2.9": "eth0",
        "198.51.100.9": "eth0",
        "2001:db8::9": "eth0",
        "203.0.113.9": "",
    }
    assert {address: filters["device_of"](address, facts) for address in wanted} == wanted


def test_services_elsewhere(tmp_path: Path, secrets: dict[str, str]) -> None:
    file, url = tmp_path / "hosts.yml", "postgresql://u:p@db.example.org/n?sslmode=verify-full"

    def said(**given: str) -> str:
        inventory = write(file, ONE, secrets | given)
        del inventory["data"]
        file.write_text(yaml.safe_dump(inventory))
        return check(file)

    assert said(DATABASE_URL=url, S3_URL="https://k:s@s3.example.org/bucket") == ""
    assert "add to `secrets`: DATABASE_URL, S3_URL" in said()
    assert "how to verify it" in said(DATABASE_URL=url.partition("?")[0], S3_URL="https://k:s@s3.example.org/bucket")
    write(file, ONE, secrets | {"DATABASE_URL": url})
    assert "Remove the group, or DATABASE_URL" in check(file)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yml"
    wrong = {"tls": "none", "admin_addresses": "home", "connections_per_address": 0, "virtual_addresses": "home"}
    inventory = write(file, ONE, {}, settings={"LOG_LEVLE": "INFO"}, **wrong)
    app = next(iter(APPS))
    del inventory[app]
    file.write_text(yaml.safe_dump(inventory))
    said = check(file)
    names = [name for name in SECRETS if name in parse(EXAMPLE.read_text())]
    for word in (
        f"group {app}: should have",
        "tls is none",
        "LOG_LEVLE",
        "admin_addresses",
        "connections_per_address",
        "virtual_addresses",
        *(f"{each} is missing" for each in names),
    ):
        assert word in said, said


def test_a_host_for_prometheus(tmp_path: Path, secrets: dict[str, str]) -> None:
    file = tmp_path / "hosts.yml"

    def said(settings: dict[str, Any], **more: str) -> str:
        inventory = write(file, ONE, secrets | more, settings=settings)
        inventory["monitoring"] = {"hosts": {"monitoring-1": {"ansible_host": "192.0.2.41"}}}
        file.write_text(yaml.safe_dump(inventory))
        return check(file)

    metrics = {"METRICS_PORT": 9145}
    assert "settings should have METRICS_PORT" in said({})
    # Settings of a project with the site.
    mail = {"ADMINS": "ann@example.org"} if "ADMINS" in parse(EXAMPLE.read_text()) else {}
    assert said(metrics | mail) == ""
    if mail:
        assert "smtp+ssl:// should have port 465" in said(metrics | mail, EMAIL_URL="smtp+ssl://mail.example.org:8465")
