"""A provisioned host: a second run changes nothing, no log contains a secret, and no unneeded port is open."""

import re
import resource
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.hosts.hosts import Host
from tests.hosts.shapes import both_shapes, one_and_long_five
from tests.hosts.stack import METRICS_PORT, HostsStack
from tests.hosts.test_data import data
from tests.stacks import edited

# LIVE_PER_ADDRESS and 500, as in group_vars/all.yml.
PER_ADDRESS = 1000
# These tests of lynis read what nothing here uses: Debian's redis.conf and nginx.conf, and apt sources of one line.
FALSE_ALARMS = ("DBS-1884", "DBS-1886", "HTTP-6710", "PKGS-7388")

CONFIGURATION = "deploy/ansible/ansible.cfg"

# Connect from another host of the network. Fails with the reason.
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


@one_and_long_five
def test_a_second_run_changes_nothing(stack: HostsStack) -> None:
    done = stack.make("provision")
    assert done.returncode == 0, done.stdout
    [table] = re.findall(r"^  host .* changed .*\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
    changed = {row.split()[0]: int(row.split()[2]) for row in table.splitlines() if len(row.split()) == 5}
    assert {host.name: 0 for host in stack.network}.items() <= changed.items(), done.stdout


@both_shapes
def test_nothing_is_wrong(stack: HostsStack) -> None:
    done = stack.make("doctor")
    assert done.returncode == 0, done.stdout


def test_another_program_on_the_ports_of_nginx(hosts: HostsStack) -> None:
    """Provision names it before it changes anything."""
    host = hosts.network["vm"]
    host.run("systemctl stop nginx && systemd-run --quiet --unit=other python3 -m http.server 80")
    try:
        done = hosts.make("provision")
    finally:
        host.run("systemctl stop other && systemctl start nginx")
    assert done.returncode != 0
    assert "another program listens on port 80 or 443" in done.stdout
    assert '"python3"' in done.stdout
    assert "Every host" not in done.stdout, "it stopped before the next play"


def test_postgresql_is_confined(hosts: HostsStack) -> None:
    """10 is no confinement at all, 9.6 is Debian's unit."""
    unit = "$(systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1)"
    said = data(hosts).run(f"systemd-analyze security --no-pager {unit}").stdout
    [exposure] = re.findall(r"exposure level for .*: (\d+[.]\d)", said)
    assert float(exposure) < 4


@pytest.mark.long
def test_lynis_rates_the_hardening(hosts: HostsStack) -> None:
    """At least 75. A booted host cannot set values of its kernel. One counts if the host's files set it, as on a VM."""
    vm = hosts.network["vm"]
    vm.run("DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends lynis")
    vm.run(f"printf 'skip-test=%s\\n' {' '.join(FALSE_ALARMS)} >/etc/lynis/custom.prf")
    vm.run("lynis audit system --quick --quiet --no-colors", check=False)  # 78: it has suggestions
    log, values = vm.run("cat /var/log/lynis.log").stdout, vm.run("cat /etc/sysctl.d/60-hardening.conf").stdout
    vm.run("apt-get purge -qq lynis && rm -rf /etc/lynis")
    points, most = map(int, re.findall(r"Currently having (\d+) points \(out of (\d+)\)", log)[-1])
    other = re.findall(r"sysctl key (\S+) has a different value .* Expected=(\S+), Real=", log)
    set_by_files = sum(f"-{key} = {value}\n" in values for key, value in other)
    assert 100 * (points + set_by_files) // most >= 75, (points, set_by_files, most)


def test_security_updates_are_installed(hosts: HostsStack) -> None:
    shown = hosts.make("fleet").stdout
    assert "  installed  " in shown, shown


def test_no_secret_is_logged(hosts: HostsStack) -> None:
    """Neither Ansible's output at its highest verbosity nor the host's journal and logs contain a secret."""
    host = hosts.network["vm"]
    told = host.run("cd /srv/app/secrets && cat secret_key token_keys database_url redis_url tls_key").stdout
    secrets = {word for word in re.findall(r"[\w/+-]{24,}", told) if "PRIVATE" not in word}
    assert len(secrets) >= 5
    host.run("cd /srv/app/secrets && rm secret_key token_keys database_url redis_url")
    with (
        edited(hosts, CONFIGURATION, "stdout_callback = plain", "stdout_callback = default\nverbosity = 4"),
        edited(hosts, CONFIGURATION, "[ssh_connection]", "[diff]\nalways = True\n[ssh_connection]"),
    ):
        done = hosts.make("provision")
    assert done.returncode == 0
    assert "TASK [app : Write the secrets]" in done.stdout
    logs = host.run("journalctl; cat /srv/app/var/log/*; ps axww").stdout
    assert "Invoked with" in logs
    for secret in secrets:
        assert secret not in done.stdout
        assert secret not in logs


def listening(host: Host) -> set[int]:
    """Return the ports on which something listens for other hosts."""
    lines = host.run("ss --no-header --listening --tcp --numeric").stdout.splitlines()
    places = [line.split()[3].rpartition(":") for line in lines]
    return {int(port) for address, _, port in places if not address.startswith(("127.", "[::1]"))}


def open_to(address: str, ports: set[int]) -> set[int]:
    """Return the ports to which this machine, which is in no inventory, can connect."""
    found = set()
    for port in ports:
        try:
            socket.create_connection((address, port), 1).close()
            found.add(port)
        except OSError:
            continue
    return found


def test_the_world_gets_to_ssh_and_nginx(five: HostsStack) -> None:
    heard = {host.name: listening(host) for host in five.network}
    assert heard["data-1"] >= {22, 5432, 6379, 7001}
    assert heard["app-1"] >= {22, 8001, 8101, 9001, 9002, 9101, 9102}
    for host in five.network:
        edge = {80, 443} if host.name in five.shape["edge"] else set()
        assert open_to(host.address, heard[host.name]) == {22} | edge


@pytest.mark.parametrize(
    ("who", "whom", "ports"),
    [
        # Prometheus is on app-1. An edge shows the metrics of all hosts at /stack/.
        ("app-1", "data-1", {5432, 6379, 7001, METRICS_PORT}),
        ("edge-1", "data-1", {7001, METRICS_PORT}),
        ("edge-1", "app-1", {8001, 8101, 9001, 9002, 9101, 9102, METRICS_PORT}),
    ],
)
def test_a_host_gets_to_what_it_needs(five: HostsStack, who: str, whom: str, ports: set[int]) -> None:
    address = five.network[whom].address
    ask = "for port in {}; do python3 -c {!r} {} $port 2>/dev/null && echo $port; done; true"
    all_ports = sorted(listening(five.network[whom]) - {22})
    found = five.network[who].run(ask.format(" ".join(map(str, all_ports)), CONNECT, address)).stdout
    assert set(map(int, found.split())) == ports


@contextmanager
def half_sent(host: str, address: str, count: int) -> Iterator[int]:
    """Hold `count` requests without an end from an address. Yields how many connections were not reset."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = 0
    with ExitStack() as held:
        for _ in range(count):
            client = held.enter_context(socket.socket())
            client.settimeout(5)
            client.bind((address, 0))
            try:
                client.connect((host, 80))
                client.send(b"GET / HTTP/1.1\r\nHost: ")
            except (ConnectionRefusedError, ConnectionResetError):
                continue
            opened += 1
        yield opened


def test_one_address_cannot_take_all_connections(hosts: HostsStack) -> None:
    """nginx ends a half-sent request after 10 s, so a few connections may be free again when the last one is tried."""
    address = next(hosts.addresses)
    with half_sent(hosts.host, address, 2 * PER_ADDRESS) as opened, hosts.client() as other:
        assert PER_ADDRESS <= opened < 1.5 * PER_ADDRESS
        assert other.get("/").status_code == 200
        assert hosts.network["vm"].run("ss -Htn state established '( sport = :80 )'").stdout.count("\n") <= PER_ADDRESS
    # The reset is for as long as the connections are open.
    with half_sent(hosts.host, address, 1) as opened:
        assert opened == 1


def test_a_proxy_may_have_any_number_of_connections(hosts: HostsStack) -> None:
    with half_sent(hosts.host, hosts.proxy, PER_ADDRESS + 100) as opened:
        assert opened == PER_ADDRESS + 100


def test_other_hosts_may_have_any_number_of_connections(five: HostsStack) -> None:
    count = PER_ADDRESS + 20
    connect = f"import socket; held = [socket.create_connection(({five.host!r}, 80), 5) for _ in range({count})]"
    five.network["app-1"].run(f"ulimit -n 4096; python3 -c {shlex.quote(connect)}")


@pytest.mark.long
def test_nobody_is_locked_out(hosts: HostsStack) -> None:
    """A mistake in admin_addresses locks its author out. The host restores the previous rules. Provision says so."""
    with hosts.other_inventory(lambda inventory: inventory["all"]["vars"].update(admin_addresses=["192.0.2.0/24"])):
        done = hosts.make("provision")
    assert done.returncode
    assert "are you in admin_addresses" in done.stdout
    deadline = time.monotonic() + 150
    while hosts.network["vm"].execute("true").returncode:
        assert time.monotonic() < deadline
        time.sleep(1)
    test_a_second_run_changes_nothing(hosts)
