"""What provision leaves: the same when it is run again, no secret told, and nothing open but what the shape needs."""

import re
import socket
import time

import pytest

from tests.hosts.hosts import Host
from tests.hosts.stack import VmStack, both_shapes, vm_and_long_five

# A connection from another host of the network, or why there is none.
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


@vm_and_long_five
def test_a_second_run_changes_nothing(stack: VmStack) -> None:
    done = stack.make("provision")
    assert done.returncode == 0, done.stdout
    [table] = re.findall(r"^  host .* changed .*\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
    changed = {row.split()[0]: int(row.split()[2]) for row in table.splitlines() if len(row.split()) == 5}
    assert {host.name: 0 for host in stack.network}.items() <= changed.items(), done.stdout


@both_shapes
def test_nothing_is_wrong(stack: VmStack) -> None:
    done = stack.make("doctor")
    assert done.returncode == 0, done.stdout


def test_nothing_secret_is_said(vm: VmStack) -> None:
    """Neither by Ansible when it tells all it can, as it writes them, nor in the host's journal and logs."""
    host = vm.network["vm"]
    told = host.run("cd /srv/app/secrets && cat secret_key token_keys database_url redis_url tls_key").stdout
    secrets = {word for word in re.findall(r"[\w/+-]{24,}", told) if "PRIVATE" not in word}
    assert len(secrets) >= 5
    host.run("cd /srv/app/secrets && rm secret_key token_keys database_url redis_url")
    loud = {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_VERBOSITY": "4", "ANSIBLE_DIFF_ALWAYS": "yes"}
    done = vm.make("provision", **loud)
    assert done.returncode == 0
    assert "TASK [app : Secrets]" in done.stdout
    logs = host.run("journalctl; cat /srv/app/var/log/*; ps axww").stdout
    assert "Invoked with" in logs
    for secret in secrets:
        assert secret not in done.stdout
        assert secret not in logs


def listening(host: Host) -> set[int]:
    """Ports that something waits on for other hosts."""
    lines = host.run("ss --no-header --listening --tcp --numeric").stdout.splitlines()
    places = [line.split()[3].rpartition(":") for line in lines]
    return {int(port) for address, _, port in places if not address.startswith(("127.", "[::1]"))}


def open_to(address: str, ports: set[int]) -> set[int]:
    """Those of them that this machine, which is in no inventory, gets a connection to."""
    found = set()
    for port in ports:
        try:
            socket.create_connection((address, port), 1).close()
            found.add(port)
        except OSError:
            continue
    return found


def test_the_world_gets_to_ssh_and_nginx(five: VmStack) -> None:
    heard = {host.name: listening(host) for host in five.network}
    assert heard["data-1"] >= {22, 5432, 6379, 8003}
    assert heard["app-1"] >= {22, 8001, 8002, 8101, 8104}
    for host in five.network:
        edge = {80, 443} if host.name in five.shape["edge"] else set()
        assert open_to(host.address, heard[host.name]) == {22} | edge


@pytest.mark.parametrize(
    ("who", "whom", "ports"),
    [
        ("app-1", "data-1", {5432, 6379, 8003}),
        ("edge-1", "data-1", {8003}),
        ("edge-1", "app-1", {8001, 8002, *range(8101, 8105)}),
    ],
)
def test_a_host_gets_to_what_it_needs(five: VmStack, who: str, whom: str, ports: set[int]) -> None:
    address = five.network[whom].address
    ask = "for port in {}; do python3 -c {!r} {} $port 2>/dev/null && echo $port; done; true"
    all_ports = sorted(listening(five.network[whom]) - {22})
    found = five.network[who].run(ask.format(" ".join(map(str, all_ports)), CONNECT, address)).stdout
    assert set(map(int, found.split())) == ports


@pytest.mark.long
def test_nobody_is_locked_out(vm: VmStack) -> None:
    """By one's own admin_addresses: the host takes the rules back, and says so."""
    with vm.other_inventory(lambda inventory: inventory["all"]["vars"].update(admin_addresses=["192.0.2.0/24"])):
        done = vm.make("provision")
    assert done.returncode
    assert "are you in admin_addresses" in done.stdout
    deadline = time.monotonic() + 150
    while vm.network["vm"].execute("true").returncode:
        assert time.monotonic() < deadline
        time.sleep(1)
    test_a_second_run_changes_nothing(vm)
