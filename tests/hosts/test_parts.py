"""Add parts to hosts as to the other targets (tests/parts), and an entry in the inventory."""

from typing import Any

import pytest

from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.parts.load import Requests
from tests.parts.test_parts import PATHS, add, check_unnoticed, remove, roll, stop_cleanly

# Each part needs two provisions and two deploys.
pytestmark = pytest.mark.long


def apply(stack: HostsStack) -> None:
    """Provision the hosts, and deploy the project's files."""
    for done in (stack.make("provision"), stack.deploy()):
        assert done.returncode == 0, done.stdout


def test_a_command(hosts: HostsStack, record: Record) -> None:
    def with_group(inventory: Any) -> None:
        inventory["all"]["children"]["worker"] = {"hosts": {"vm": None}}

    with Requests(hosts, PATHS) as load:
        add(hosts, "worker")
        done = hosts.make("provision")
        assert done.returncode
        assert "no host in the group worker" in done.stdout
        with hosts.other_inventory(with_group):
            hosts.shape["worker"] = ["vm"]
            apply(hosts)
            names = hosts.instances_of("worker")
            status = hosts.make("status").stdout
            assert all(f" {name} " in status for name in names), status
            roll(hosts, "worker")
            for name, log in zip(names, hosts.read_logs("worker"), strict=True):
                assert "did a job" in log
                stop_cleanly(hosts, name)
                assert hosts.read_logs("worker")[names.index(name)][-1] == "finished"
            assert "worker-a: stopped" in hosts.make("status").stdout
            hosts.start("worker-a")
        remove(hosts, "worker")
        del hosts.shape["worker"]
        apply(hosts)
    record("a command on a host", load.sent, load.failed.total(), load.resent, None, "the other apps")
    check_unnoticed(load)
    units = "tandem-command@*"
    units = hosts.network["vm"].run(f"systemctl list-units --all --plain --no-legend '{units}'").stdout
    assert units == ""


def test_a_third_instance_and_a_setting(hosts: HostsStack) -> None:
    """The inventory sets any setting of .env.example. Provision installs the new instance's unit."""
    registry = hosts.project / "deploy/apps.toml"
    before = registry.read_text()

    def with_setting(inventory: Any) -> None:
        inventory["all"]["vars"]["settings"]["UPLOAD_LIMIT_MB"] = 7

    with hosts.other_inventory(with_setting):
        registry.write_text(before.replace('instances = ["a", "b"]', 'instances = ["a", "b", "c"]', 1))
        apply(hosts)
        assert "site-a site-b site-c " in hosts.make("status").stdout
        assert hosts.setting("UPLOAD_LIMIT_MB") == "7"
        assert "client_max_body_size 7m;" in (hosts.seen / "nginx/snippets/server.conf").read_text()
    registry.write_text(before)
    apply(hosts)
    assert "site-c" not in hosts.make("status").stdout
    assert hosts.setting("UPLOAD_LIMIT_MB") == "6"
