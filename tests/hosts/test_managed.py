"""PostgreSQL, through a pooler, and Redis that run elsewhere: an inventory without a data host."""

from pathlib import Path
from typing import Any

import pytest

from tests.hosts.stack import HostsStack
from tests.hosts.test_hosts_lost import wait_until_whole
from tests.parts.load import Requests
from tests.parts.test_parts import PATHS
from tests.site.media import buckets
from tests.stacks.managed import managed

# Two provisions and five rolls.
pytestmark = pytest.mark.long


def test_services_elsewhere(hosts: HostsStack) -> None:
    file = Path(hosts.environment["INVENTORY"]) / "group_vars/all/secrets.yml"
    own = file.read_text()

    def apply(*targets: str) -> None:
        hosts.commit("Another release")
        for target in targets:
            done = hosts.make(target)
            assert done.returncode == 0, done.stdout

    with managed(hosts.outward) as services, buckets.bucket(hosts.outward) as bucket:

        def elsewhere(inventory: Any) -> None:
            del inventory["all"]["children"]["data"]
            inventory["all"]["vars"]["settings"]["DATABASE_POOLER"] = True
            inventory["all"]["vars"]["ca_file"] = services.authority

        with hosts.other_inventory(elsewhere), Requests(hosts, PATHS) as load:
            refused = hosts.make("provision")
            assert "add to `secrets`: DATABASE_URL, S3_URL" in refused.stdout
            for name, url in {"DATABASE_URL": services.pooled, "REDIS_URL": services.bus, "S3_URL": bucket}.items():
                hosts.add_secret(name, url)
            apply("provision", "deploy")
            wait_until_whole(hosts)
            assert services.ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'stack'") > [(0,)]
            apply("deploy", "rollback")
            wait_until_whole(hosts)
            assert "has no data host" in hosts.make("backup").stdout
        file.write_text(own)
        apply("provision", "deploy")
        wait_until_whole(hosts)
    assert not load.failed
