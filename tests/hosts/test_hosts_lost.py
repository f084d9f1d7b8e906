"""A host goes, with the plug or in good order, while all the others serve."""

import asyncio
import time

import pytest

from tests.chaos.load import GETS, Load
from tests.chaos.recovery import seconds_until
from tests.chaos.table import Record
from tests.sample import EITHER, Crowd
from tests.hosts.stack import VmStack
from tests.hosts.test_deploy import serves


@pytest.fixture(scope="module")
def crowd(five: VmStack) -> Crowd:
    return Crowd.gather(five)


def is_whole(stack: VmStack) -> bool:
    try:
        serves(stack, EITHER)
    except (AssertionError, KeyError, ValueError):
        return False
    return True


async def test_power_off(five: VmStack, crowd: Crowd, record: Record) -> None:
    """Of a host of both apps: what it held is asked of the other one."""
    host = five.network["app-2"]
    async with Load(five, crowd) as load:
        await asyncio.sleep(3)
        await asyncio.to_thread(host.power_off)
        # Long enough for nginx to look again whether it is there.
        await asyncio.sleep(15)
        await asyncio.to_thread(host.power_on)
        seconds = await seconds_until(is_whole, five, limit=120)
        await asyncio.sleep(3)
    record("the plug of a host of both apps is pulled", *load.figures(), seconds, load.saw())
    assert load.failed(GETS) == 0, load.report()


@pytest.mark.long
@pytest.mark.parametrize("name", ["app-1", "data-1", "edge-1"])
def test_reboot(five: VmStack, name: str) -> None:
    five.network[name].reboot()
    back(five)


def test_reboot_of_all_at_once(vm: VmStack) -> None:
    vm.network["vm"].reboot()
    back(vm)


def back(stack: VmStack) -> None:
    """By itself."""
    deadline = time.monotonic() + 90
    while not is_whole(stack):
        assert time.monotonic() < deadline, stack.make("fleet").stdout
