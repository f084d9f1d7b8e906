"""Hosts lose power or reboot."""

import asyncio
import time

import pytest

from tests.chaos.load import GETS, Load
from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.hosts.test_deploy import serves
from tests.sample import EITHER, Crowd


@pytest.fixture(scope="module")
def crowd(five: HostsStack) -> Crowd:
    return Crowd.gather(five)


def is_whole(stack: HostsStack) -> bool:
    try:
        serves(stack, EITHER)
    except (AssertionError, KeyError, ValueError):
        return False
    return True


async def test_power_off(five: HostsStack, crowd: Crowd, record: Record) -> None:
    """A host with both apps loses power. nginx sends the requests that it held to the other one."""
    host = five.network["app-2"]
    async with Load(five, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.power_off)
        # Long enough for nginx to try the dead host again.
        await asyncio.sleep(15)
        await asyncio.to_thread(host.power_on)
        seconds = await seconds_until(is_whole, five, limit=120)
        await asyncio.sleep(3)
    record("a host of both apps loses power", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == 0, load.report()


@pytest.mark.long
@pytest.mark.parametrize("name", ["app-1", "data-1", "edge-1"])
def test_reboot(five: HostsStack, name: str) -> None:
    five.network[name].reboot()
    wait_until_whole(five)


def test_reboot_of_all_at_once(hosts: HostsStack) -> None:
    hosts.network["vm"].reboot()
    wait_until_whole(hosts)


def wait_until_whole(stack: HostsStack) -> None:
    """Wait until every service is ready, without any command."""
    deadline = time.monotonic() + 90
    while not is_whole(stack):
        assert time.monotonic() < deadline, stack.make("fleet").stdout
