"""Hosts for the tests of the playbooks: whole Debian systems booted by systemd-nspawn, on a network of their own.

    python3 -m tests.hosts.hosts up DIR --suite bookworm one       until Ctrl-C; DIR/inventory/hosts.yml is Ansible's
    python3 -m tests.hosts.hosts up DIR --suite trixie five
    python3 -m tests.hosts.hosts down DIR

A host has less than a fresh Debian installation: systemd, sshd, sudo, python3, and the user `admin`, who logs in with a
key and may use sudo. Its files are an overlay over a base that is created once in HOSTS_DIR (/var/cache/stack-hosts),
which should be on a disk. Networks are 10.77.N.0/24 and
fd77:0:0:N::/64, behind this machine's address. Needs root, systemd-container and debootstrap.

A host has no kernel of its own. So only sysctls below net. are writable, and limits of memory and processes
(MemoryMax=, TasksMax=) work only if this machine's cgroup2 has those controllers.
"""

import argparse
import fcntl
import hashlib
import inspect
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.servers import Missing, program

CACHE = Path(os.environ.get("HOSTS_DIR", "/var/cache/stack-hosts"))
# Processes claim their N with a lock that ends with the process.
NUMBERS = Path("/run/stack-hosts")
INVENTORIES = Path(__file__).resolve().parents[2] / "deploy/ansible/inventories"
SHAPES = {"one": "one-vm", "five": "five-hosts", "seven": "seven-hosts"}
SUITES = ("bookworm", "trixie", "noble")
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,ca-certificates,iproute2"
# Debian has no package with Ubuntu's keys.
UBUNTU_KEYRING = "ubuntu-keyring_2023.11.28.1_all.deb"
UBUNTU_KEYRING_SHA256 = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"
# This machine's settings for package registries, which the hosts get too.
WAY_OUT = re.compile(r"SSL_CERT_FILE|PIP_CERT|PIP_DEFAULT_TIMEOUT|REQUESTS_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
SECONDS_TO_BOOT = 120
BOOT = """
set -eu
cgroup=$1 layers=$2 root=$3
shift 3
# systemd boots on cgroup2 only, from trixie's on, whatever this machine has.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t overlay overlay -o "$layers" "$root"
# 133: it asked to be rebooted.
result=133
while [ "$result" = 133 ]; do
    result=0
    sh -c 'echo $$ >"/sys/fs/cgroup/$0/cgroup.procs" && exec "$@"' "$cgroup" "$@" || result=$?
done
exit "$result"
"""


class Host:
    """One host; `name` is its hostname too."""

    def __init__(self, network: "Network", name: str, index: int) -> None:
        self.network = network
        self.name = name
        self.address, self.address_6 = network.addresses(index)
        self.machine = f"h{network.number}-{index}"
        # systemd-nspawn's name for this end of the host's network cable.
        self.cable = f"vb-{self.machine}"
        self.cgroup = cgroups() / f"stack-{self.machine}"
        self.directory = network.files / name
        self.booted: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Write the host's own files: its names, address and keys, and the key that may log in."""
        for directory in ("root", "work", "upper"):
            (self.directory / directory).mkdir(parents=True)
        upper = self.directory / "upper"
        network = f"[Match]\nName=host0\n[Link]\nMTUBytes={self.network.mtu}\n[Network]\nAddress={self.address}/24\n"
        network += f"Address={self.address_6}/64\n"
        written = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n::1 localhost ip6-localhost ip6-loopback\n",
            "etc/machine-id": f"{os.urandom(16).hex()}\n",
            "etc/resolv.conf": resolvers(),
            "etc/systemd/network/10-host0.network": f"{network}Gateway={self.network.gateway}\n",
            "home/admin/.ssh/authorized_keys": self.network.key.with_suffix(".pub").read_text(),
        }
        for path, text in written.items():
            (upper / path).parent.mkdir(parents=True, exist_ok=True)
            (upper / path).write_text(text)
        for path in ("home/admin", "home/admin/.ssh", "home/admin/.ssh/authorized_keys"):
            os.chown(upper / path, 1000, 1000)
        (upper / "home/admin/.ssh").chmod(0o700)
        (upper / "etc/ssh").mkdir()
        key = upper / "etc/ssh/ssh_host_ed25519_key"
        new_key(key, f"root@{self.name}")
        with self.network.known_hosts.open("a") as known:
            known.write(f"{self.address} {key.with_suffix('.pub').read_text()}")

    def boot(self) -> None:
        """Start the host. Return at once."""
        if self.booted is not None and self.booted.poll() is not None:
            self.kill()  # it was shut down
        assert self.booted is None, f"{self.name} is on"
        self.cgroup.mkdir(exist_ok=True)
        files, base = self.directory, self.network.base
        # Like the system's own cgroups and /tmp. No lock, because power_off would leave its file behind.
        own = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_TMPFS_TMP": "0", "SYSTEMD_NSPAWN_LOCK": "0"}
        with (files / "console").open("ab") as console:
            self.booted = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation=private", "sh", "-c", BOOT, "boot", self.cgroup.name),
                    f"lowerdir={base},upperdir={files / 'upper'},workdir={files / 'work'}",
                    files / "root",
                    *("systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit", "--console=read-only"),
                    *("--directory", files / "root", "--machine", self.machine, "--hostname", self.name),
                    *("--network-bridge", self.network.bridge),
                    *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
                ],
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when a login succeeds."""
        assert self.booted is not None, f"{self.name} is off"
        deadline = time.monotonic() + SECONDS_TO_BOOT
        while time.monotonic() < deadline:
            if self.booted.poll() is not None:
                break
            if self.execute("true").returncode == 0:
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.name}: no ssh; its console says\n{self.console()}")

    def console(self) -> str:
        """Return the end of its console output."""
        return "\n".join((self.directory / "console").read_text(errors="replace").splitlines()[-30:])

    @property
    def ssh(self) -> list[str]:
        """Return the command that logs in as admin. Append a command to run on the host."""
        return ["ssh", *self.network.ssh_options, f"admin@{self.address}"]

    def run(
        self, command: str, check: bool = True, user: str = "root", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host by ssh and sudo. Options are those of subprocess.run: input, timeout."""
        done = self.execute(f"sudo -n -u {user} bash -c {shlex.quote(command)}", **options)
        assert not check or done.returncode == 0, (self.name, command, done.stdout, done.stderr)
        return done

    def execute(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"timeout": 600} | ({} if "input" in options else {"stdin": subprocess.DEVNULL}) | options
        return subprocess.run([*self.ssh, command], capture_output=True, text=True, check=False, **options)

    def power_off(self) -> None:
        """Cut the power: no process stops cleanly, and no connection is closed.

        Writes that reached the kernel stay. A real power cut also loses writes that were not synced.
        """
        assert self.booted is not None, f"{self.name} is off"
        # Before the kill, because the kernel closes the connections of a killed process.
        succeeds("ip", "link", "set", self.cable, "down")
        self.kill()

    def kill(self) -> None:
        if self.booted is not None:
            kill(self.cgroup)
            # The host has no cgroup any more when it boots again.
            self.booted.wait(timeout=30)
            self.booted = None
            # The kernel would do this later.
            succeeds("ip", "link", "delete", self.cable)

    def power_on(self) -> None:
        """Return when a login succeeds."""
        self.boot()
        self.wait()

    def replace(self) -> None:
        """Boot an empty host in the place of this one, which is off. Return when a login succeeds."""
        self.network.forget_connections()
        execute("ssh-keygen", "-R", self.address, "-f", str(self.network.known_hosts))
        shutil.rmtree(self.directory)
        self.make()
        self.power_on()

    def reboot(self) -> None:
        """Reboot as an administrator does. Return when a login succeeds again."""
        before = self.boot_id()
        with suppress(subprocess.TimeoutExpired):
            self.run("systemctl reboot", check=False, timeout=20)
        deadline = time.monotonic() + SECONDS_TO_BOOT + 90  # systemd gives a service 90 s to stop
        while self.boot_id() in ("", before):
            assert time.monotonic() < deadline, f"{self.name} did not come back; its console says\n{self.console()}"
            time.sleep(0.1)

    def boot_id(self) -> str:
        """Return the id of this boot; empty while the host does not respond."""
        return self.execute("cat /proc/sys/kernel/random/boot_id").stdout.strip()


class Network:
    """The hosts by name, `network["edge"]`, and their common network."""

    def __init__(self, number: int, base: Path, directory: Path | None) -> None:
        self.number = number
        self.base = base
        self.bridge, self.subnet, self.gateway = names(number)
        self.files = CACHE / f"runs/{number}"
        directory = directory or self.files
        self.key, self.known_hosts = directory / "key", directory / "known_hosts"
        # Ansible's open connections are in this directory.
        self.connections = self.files / "cp"
        self.hosts: dict[str, Host] = {}
        # With an MTU larger than that of the outgoing interface, downloads hang.
        ways_out = output("ip", "-4", "route", "show", "default").splitlines()
        self.mtu = min([1500, *map(mtu_of, ways_out)])

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def addresses(self, index: int) -> tuple[str, str]:
        """Return the addresses of IPv4 and IPv6 with this number."""
        return f"10.77.{self.number}.{index}", f"fd77:0:0:{self.number:x}::{index}"

    @property
    def ssh_options(self) -> list[str]:
        """Write the hosts' real keys to known_hosts, so that ssh checks them from the first connection on."""
        own = {"IdentitiesOnly": "yes", "UserKnownHostsFile": self.known_hosts, "StrictHostKeyChecking": "yes"}
        other = {"BatchMode": "yes", "ConnectTimeout": "5", "ServerAliveInterval": "5", "LogLevel": "ERROR"}
        return ["-F", "none", "-i", str(self.key), *(f"-o{name}={value}" for name, value in (own | other).items())]

    def inventory(self, path: Path, shape: Mapping[str, Sequence[str]], variables: Mapping[str, Any] = {}) -> Path:
        """Write an inventory for Ansible: groups with the names of their hosts, and variables for all of them."""
        common = {
            "ansible_user": "admin",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes",
            # Not the user's directory, where the next network's hosts would find connections of this one.
            "ansible_control_path_dir": str(self.connections),
        }
        used = {name for group in shape.values() for name in group}
        of_hosts = {
            host.name: {"ansible_host": host.address, "private_address": host.address}
            for host in self
            if host.name in used
        }
        groups = {group: {"hosts": dict.fromkeys(members)} for group, members in shape.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"all": {"vars": common | dict(variables), "hosts": of_hosts, "children": groups}}
        path.write_text(yaml.safe_dump(whole, sort_keys=False))
        return path

    def up(self, names: Sequence[str]) -> None:
        """Boot all hosts at the same time. Return when a login succeeds on each."""
        self.files.mkdir(parents=True)
        self.connections.mkdir(mode=0o700)
        self.known_hosts.write_text("")
        self.key.unlink(missing_ok=True)
        new_key(self.key, "admin")
        connect(self)
        self.hosts = {name: Host(self, name, index) for index, name in enumerate(names, start=11)}
        for host in self:
            host.make()
            host.boot()
        for host in self:
            host.wait()

    def forget_connections(self) -> None:
        """Close those that Ansible keeps for a minute."""
        for socket in self.connections.glob("*"):
            succeeds("ssh", f"-oControlPath={socket}", "-Oexit", "nobody")

    def down(self) -> None:
        """Remove the network with everything in it."""
        self.forget_connections()
        for host in self:
            host.kill()
        sweep(self.number)


@contextmanager
def hosts(names: Sequence[str], suite: str = "bookworm", directory: Path | None = None) -> Iterator[Network]:
    """Bare hosts with these names, for the block. `directory`, if given, gets their key and known_hosts."""
    check_machine()
    sweep_all()
    with ExitStack() as stack:
        base = stack.enter_context(base_of(suite))
        network = Network(stack.enter_context(free_number()), base, directory)
        stack.callback(network.down)
        network.up(names)
        yield network


def check_machine() -> None:
    if os.geteuid() != 0:
        raise Missing("root, whom hosts of one's own need")
    for name, package in {
        "systemd-nspawn": "systemd-container",
        "debootstrap": "debootstrap",
        "nft": "nftables",
        "ip": "iproute2",
        "ssh": "openssh-client",
    }.items():
        program(name, package)
    cgroups()


def cgroups() -> Path:
    """Return where this machine mounts cgroup2, alone or beside cgroup 1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, directory, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(directory)
    raise Missing("cgroup2, which is not mounted")


# The network


def names(number: int) -> tuple[str, str, str]:
    """Return the names and addresses of network N: the bridge and nft table, the subnet, and the bridge's address."""
    return f"stack-vm{number}", f"10.77.{number}.0/24", f"10.77.{number}.1"


def connect(network: Network) -> None:
    """Create a bridge, and masquerade its traffic to this machine's networks."""
    bridge, subnet = network.bridge, network.subnet
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    execute("ip", "link", "add", bridge, "type", "bridge")
    execute("ip", "addr", "add", f"{network.gateway}/24", "dev", bridge)
    execute("ip", "addr", "add", f"{network.addresses(1)[1]}/64", "dev", bridge, "nodad")
    execute("ip", "link", "set", bridge, "mtu", str(network.mtu), "up")
    table = f"""table ip {bridge} {{
        chain out {{
            type nat hook postrouting priority srcnat
            ip saddr {subnet} ip daddr != {subnet} masquerade
        }}
    }}"""
    execute("nft", table)
    # A Docker engine drops traffic that it does not know, even between two ports of a bridge.
    if succeeds("nft", "list", "chain", "ip", "filter", "FORWARD"):
        for direction in ("iifname", "oifname"):
            execute("nft", "insert", "rule", "ip", "filter", "FORWARD", direction, bridge, "counter", "accept")


def disconnect(number: int) -> None:
    bridge, *_ = names(number)
    rules = output("nft", "--handle", "list", "chain", "ip", "filter", "FORWARD")
    for handle in re.findall(rf'"{bridge}" .* handle (\d+)$', rules, re.MULTILINE):
        succeeds("nft", "delete", "rule", "ip", "filter", "FORWARD", "handle", handle)
    succeeds("nft", "delete", "table", "ip", bridge)
    for device in Path("/sys/class/net").glob(f"vb-h{number}-*"):
        succeeds("ip", "link", "delete", device.name)
    succeeds("ip", "link", "delete", bridge)


def mtu_of(route: str) -> int:
    device = re.search(r" dev (\S+)", route)
    return int(Path(f"/sys/class/net/{device[1]}/mtu").read_text()) if device else 1500


def resolvers() -> str:
    """Return this machine's name servers: the upstream ones of systemd-resolved, which answers only this machine."""
    behind = Path("/run/systemd/resolve/resolv.conf")
    return (behind if behind.exists() else Path("/etc/resolv.conf")).read_text()


@contextmanager
def free_number() -> Iterator[int]:
    """Claim a free N for the block."""
    for number in range(1, 255):
        with locked(number) as alone:
            if alone:
                sweep(number)
                if f" 10.77.{number}." not in output("ip", "-4", "addr") + output("ip", "-4", "route"):
                    yield number
                    return
    raise RuntimeError("no 10.77.N.0/24 is free")


@contextmanager
def locked(number: int) -> Iterator[bool]:
    """Yield whether this process holds N, for the block."""
    NUMBERS.mkdir(exist_ok=True)
    path = NUMBERS / str(number)
    with path.open("a") as file:
        # A process that ends removes its file, so the opened file may already be deleted.
        alone = taken(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB) and (
            path.exists() and path.samefile(f"/proc/self/fd/{file.fileno()}")
        )
        try:
            yield alone
        finally:
            if alone:
                path.unlink()


def sweep_all() -> None:
    """Remove the networks that killed processes left behind."""
    for path in NUMBERS.glob("*"):
        with locked(int(path.name)) as alone:
            if alone:
                sweep(int(path.name))


def sweep(number: int) -> None:
    """Stop and remove the remains of a network."""
    for cgroup in cgroups().glob(f"stack-h{number}-*"):
        kill(cgroup)
    disconnect(number)
    left = [CACHE / f"runs/{number}", *Path("/run/systemd/nspawn/propagate").glob(f"h{number}-*")]
    # shutil's function takes three times as long, and a host has thousands of files.
    execute("rm", "-rf", *(str(directory) for directory in left))


def kill(cgroup: Path) -> None:
    """Kill all processes in a cgroup at once, and remove it."""
    deadline = time.monotonic() + 30
    while cgroup.exists():
        assert time.monotonic() < deadline, f"{cgroup} does not die"
        # The kernel refuses while a process is still exiting.
        with suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
            for directory, _, _ in os.walk(cgroup, topdown=False):
                Path(directory).rmdir()
        time.sleep(0.01)


# The base


@contextmanager
def base_of(suite: str) -> Iterator[Path]:
    """Yield the directory with the initial files of every host of a suite. They do not change during the block."""
    way_out = {name: value for name, value in sorted(os.environ.items()) if WAY_OUT.fullmatch(name)}
    settings = sorted(Path("/etc/apt/apt.conf.d").glob("99*"))
    certificates = sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))
    recipe = [inspect.getsource(make_base), inspect.getsource(ubuntu_keyring), PACKAGES, str(way_out)]
    recipe += [file.read_text() for file in (*settings, *certificates)]
    base = CACHE / f"{suite}-{hashlib.sha256(' '.join(recipe).encode()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with (CACHE / f"{suite}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not base.exists():
                for old in CACHE.glob(f"{suite}-*"):
                    with held(old, fcntl.LOCK_EX | fcntl.LOCK_NB) as unused:
                        if unused:
                            shutil.rmtree(old)
                new = CACHE / f"{suite}-new"
                make_base(suite, new, way_out, settings, certificates)
                new.rename(base)
            stack.enter_context(held(base, fcntl.LOCK_SH))
        yield base


@contextmanager
def held(directory: Path, how: int) -> Iterator[bool]:
    """Yield whether this process holds the lock of the directory, for the block."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield taken(descriptor, how)
    finally:
        os.close(descriptor)


def taken(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True


def make_base(
    suite: str, base: Path, way_out: Mapping[str, str], apt_settings: Sequence[Path], certificates: Sequence[Path]
) -> None:
    """Create the files of an installation, with this machine's settings for package registries."""
    if suite == "noble":
        mirror, security, components, name = "http://archive.ubuntu.com/ubuntu", "", "main universe", "ubuntu"
        # Debian 12's debootstrap does not know noble, but all Ubuntu releases use the same script.
        options, script = [f"--keyring={ubuntu_keyring()}", "--merged-usr"], ["gutsy"]
    else:
        mirrors = output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian").split()
        mirror = mirrors[0].rstrip("/") if mirrors else "http://deb.debian.org/debian"
        security, components, name, options, script = "-security", "main", "debian", [], []
    options += ["--variant=minbase", f"--include={PACKAGES}", f"--components={components.replace(' ', ',')}"]
    execute("debootstrap", *options, suite, str(base), mirror, *script)
    (base / "etc/apt/sources.list").unlink(missing_ok=True)
    signed = f"Components: {components}\nSigned-By: /usr/share/keyrings/{name}-archive-keyring.gpg\n"
    (base / f"etc/apt/sources.list.d/{name}.sources").write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {suite} {suite}-updates\n{signed}\n"
        f"Types: deb\nURIs: {mirror}{security}\nSuites: {suite}-security\n{signed}"
    )
    for file in apt_settings:
        shutil.copy(file, base / "etc/apt/apt.conf.d")
    for file in certificates:
        shutil.copy(file, base / "usr/local/share/ca-certificates")
    execute("chroot", str(base), "update-ca-certificates")
    # debootstrap installs no security updates: twenty packages, a minute on each host. One is left for provision.
    for command in (
        "apt-get update",
        "apt-mark hold openssl",
        "apt-get upgrade --yes",
        "apt-mark unhold openssl",
    ):
        execute("chroot", str(base), "env", "DEBIAN_FRONTEND=noninteractive", *command.split())
    environment = [f"{name}={value}" for name, value in way_out.items()]
    (base / "etc/environment").write_text("".join(f"{line}\n" for line in environment))
    (base / "etc/systemd/system.conf.d").mkdir(exist_ok=True)
    quoted = " ".join(f'"{line}"' for line in environment)
    (base / "etc/systemd/system.conf.d/way-out.conf").write_text(f"[Manager]\nDefaultEnvironment={quoted}\n")
    if "PIP_CERT" in way_out:
        (base / "etc/pip.conf").write_text(f"[global]\ncert = {way_out['PIP_CERT']}\n")
    execute("useradd", "--root", str(base), "--create-home", "--uid=1000", "--shell=/bin/bash", "admin")
    kept = f'Defaults env_keep += "{" ".join(way_out)}"\n' if way_out else ""
    (base / "etc/sudoers.d/admin").write_text(f"admin ALL=(ALL) NOPASSWD: ALL\n{kept}")
    for key in base.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    execute("systemctl", f"--root={base}", "enable", "systemd-networkd")
    # They would take apt's lock at any time.
    execute("systemctl", f"--root={base}", "mask", "apt-daily.timer", "apt-daily-upgrade.timer")
    for file in base.glob("var/cache/apt/archives/*.deb"):
        file.unlink()


def ubuntu_keyring() -> Path:
    deb, unpacked = CACHE / UBUNTU_KEYRING, CACHE / "ubuntu-keyring"
    url = f"http://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/{UBUNTU_KEYRING}"
    execute(sys.executable, "-c", "import sys, urllib.request as r; r.urlretrieve(*sys.argv[1:])", url, str(deb))
    assert hashlib.sha256(deb.read_bytes()).hexdigest() == UBUNTU_KEYRING_SHA256, f"{deb} is not what it was"
    execute("dpkg-deb", "--extract", str(deb), str(unpacked))
    return unpacked / "usr/share/keyrings/ubuntu-archive-keyring.gpg"


# Commands


def new_key(path: Path, comment: str) -> None:
    execute("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def execute(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def shape(inventory: str) -> dict[str, list[str]]:
    """Return the groups of an example inventory of the project, and their hosts."""
    groups = yaml.safe_load((INVENTORIES / inventory / "hosts.yml").read_text())
    return {group: list(of["hosts"]) for group, of in groups.items() if group != "all"}


def members(shape: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain(*shape.values())))


def up(directory: Path, inventory: str, suite: str) -> None:
    """Boot hosts for an example inventory, and wait for a signal to stop."""
    pid = directory / "pid"
    if running(pid):
        sys.exit(f"{directory}: its hosts are up, by process {pid.read_text()}")
    directory.mkdir(parents=True, exist_ok=True)
    pid.write_text(str(os.getpid()))
    started = time.monotonic()
    for number in ENDS:
        signal.signal(number, end)
    try:
        groups = shape(inventory)
        with hosts(members(groups), suite, directory) as network:
            path = network.inventory(directory / "inventory/hosts.yml", groups)
            for host in network:
                print(f"{host.name:8} {host.address}   {shlex.join(host.ssh)}")
            print(f"{path}: {time.monotonic() - started:.1f} s", flush=True)
            signal.pause()
    finally:
        pid.unlink(missing_ok=True)


def end(*_: object) -> None:
    """Leave all blocks, once: a second Ctrl-C must not interrupt the cleanup."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def down(directory: Path) -> None:
    """Stop the `up` of a directory, or clean up after one that was killed."""
    pid = directory / "pid"
    if running(pid):
        os.kill(int(pid.read_text()), signal.SIGTERM)
    while running(pid):
        time.sleep(0.1)
    pid.unlink(missing_ok=True)
    sweep_all()


def running(pid: Path) -> bool:
    """Return whether the process exists and is not another one with the same pid."""
    try:
        return "tests.hosts.hosts" in Path(f"/proc/{pid.read_text()}/cmdline").read_text().split("\0")
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.hosts.hosts")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down"):
        commands.add_parser(name).add_argument("directory", type=Path)
    commands.choices["up"].add_argument("hosts", choices=SHAPES)
    commands.choices["up"].add_argument("--suite", choices=SUITES, default="bookworm")
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    try:
        check_machine()
        if arguments.command == "down":
            down(directory)
        else:
            up(directory, SHAPES[arguments.hosts], arguments.suite)
    except Missing as missing:
        sys.exit(f"missing: {missing}")


if __name__ == "__main__":
    main()
