"""PostgreSQL, through a pooler, and Redis that run elsewhere, from the stack in containers."""

import json

from deploy.core.apps import SERVICES
from tests.parts.load import Requests
from tests.parts.test_parts import PATHS
from tests.sample import Crowd, Write
from tests.stacks import ComposeStack, docker, outside, running
from tests.stacks.managed import managed


def test_services_elsewhere_replace_the_stack_s_own() -> None:
    # The address of this machine in the containers' network.
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with outside(), managed(gateway) as services, running(ComposeStack, {"CPUS": "1"}) as stack:
        stack.environment |= services.settings(pooled=True)
        with Requests(stack, PATHS) as load:
            stack.up()
        assert not load.failed
        containers = stack.containers()
        assert containers.keys() == {*SERVICES}
        networks = {name: each["NetworkSettings"]["Networks"].keys() for name, each in containers.items()}
        assert all(networks[name] == {f"{stack.name}_data", f"{stack.name}_out"} for name in stack.instances)
        crowd = Crowd.gather(stack)
        writes, acknowledged = crowd.writes(), list[Write]()
        with stack.client() as client:

            def vote(kind: str) -> int:
                write = next(writes)
                target, headers, body = write.request(kind)
                acknowledged.append(write)
                return client.post(target, headers=headers, content=body).status_code

            assert [vote(kind) for kind in ("site write", "api write")] == [302, 201]
            newest = {each: json.loads(client.get(each.endpoint).text) for each in writes.subjects}
        writes.verify(stack, acknowledged, newest)
        stack.wait_ready()
