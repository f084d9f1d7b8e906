"""The stack on hosts of its own, made from nothing as an operator does: `make secrets`, `provision`, `deploy`."""

import ipaddress
import itertools
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from deploy import supervisord
from deploy.instance import of
from deploy.vm.host import unit
from tests.chaos.conftest import faulty
from tests.chaos.table import rows
from tests.servers import self_signed
from tests.stacks import AnyStack, directory
from tests.hosts.hosts import SUITES, Host, Network, hosts, members, shape


class VmStack(AnyStack):
    """On hosts of the shape of an example inventory; `project` is a git repository, which releases come from.

    Clients are on this machine, with addresses that the hosts answer by their gateway, which it is.
    """

    network: Network

    def __init__(self, directory: Path, project: Path, inventory: str, suite: str) -> None:
        own = {"INVENTORY": str(directory / "inventory"), "TLS": "on", "PORT": "443"}
        super().__init__(directory, own | {"TLS_CERTIFICATE": str(directory / "certificate.pem")}, project)
        self.name = inventory
        self.shape = shape(inventory)
        self.suite = suite
        self.ending = ExitStack()
        # What each of the commands took.
        self.seconds: dict[str, float] = {}
        self.known_init: dict[str, psutil.Process] = {}

    def up(self) -> str:
        self.network = self.ending.enter_context(hosts(members(self.shape), self.suite))
        route = ["ip", "route", "replace", "local", str(self.clients), "dev", "lo"]
        subprocess.run(route, check=True)
        self.ending.callback(subprocess.run, ["delete" if word == "replace" else word for word in route], check=True)
        edges = [host.address for host in self.on("edge")]
        # By the second name, a stack that is on this machine itself is known too.
        variables: dict[str, Any] = {"domains": [*edges, "localhost"], "cores": 2, "debug_upstream": "on"}
        if len(edges) > 1:
            # The other kind of certificate than one's own is on the one VM.
            own = self_signed(Path(self.certificate).parent, *edges)
            variables |= {"tls": "own"} | {name.lower(): path for name, path in own.items()}
        self.network.inventory(Path(self.environment["INVENTORY"]) / "hosts.yml", self.shape, variables)
        said = ""
        for target in ("secrets", "provision", "deploy"):
            began = time.monotonic()
            done = self.make(target)
            self.seconds[target] = time.monotonic() - began
            assert done.returncode == 0, done.stdout
            said += done.stdout
        Path(self.certificate).write_text(self.first("nginx").run("cat /srv/app/secrets/tls_certificate").stdout)
        return said

    def down(self) -> None:
        self.ending.close()

    def on(self, group: str) -> list[Host]:
        return [self.network[name] for name in self.shape[group]]

    def first(self, part: str) -> Host:
        """Of the hosts that have it: nginx, site-a, …"""
        return self.on("edge" if part == "nginx" else part.partition("-")[0])[0]

    # How it is reached

    @property
    def host(self) -> str:
        return self.first("nginx").address

    @property
    def port(self) -> int:
        return 443

    @property
    def plain_port(self) -> int:
        return 80

    @property
    def authority(self) -> str:
        return self.host

    @property
    def clients(self) -> ipaddress.IPv4Network:
        """Of the addresses that carriers have for behind their own NAT (RFC 6598), where there is room for all."""
        return [*ipaddress.IPv4Network("100.64.0.0/10").subnets(new_prefix=18)][self.network.number]

    @cached_property
    def addresses(self) -> Iterator[str]:
        return map(str, itertools.cycle(self.clients.hosts()))

    def files(self, host: Host) -> Path:
        """A host's / from here."""
        return Path(f"/proc/{self.init(host).pid}/root")

    @property
    def seen(self) -> Path:
        return self.files(self.first("nginx")) / "srv/app/var"

    # What is in it

    def init(self, host: Host) -> psutil.Process:
        """The host's first process, whose pid is another one here."""
        known = self.known_init.get(host.name)
        if not known or not known.is_running():
            assert host.booted, f"{host.name} is off"
            family = psutil.Process(host.booted.pid).children(recursive=True)
            known = self.known_init[host.name] = next(process for process in family if pid_there(process) == 1)
        return known

    def pid(self, host: Host, unit: str) -> int:
        """Of a unit's main process, as it is here; 0 if it does not run."""
        there = int(host.run(f"systemctl show --property=MainPID --value {unit}").stdout)
        family = self.init(host).children(recursive=True)
        return next((process.pid for process in family if pid_there(process) == there), 0)

    def pids(self) -> dict[str, int]:
        units = {"nginx": "nginx"} | {instance: unit(instance) for instance in of("site")}
        pids = {part: self.pid(self.first(part), name) for part, name in units.items()}
        infos: Any = self.supervisor.getAllProcessInfo()
        there = {info["pid"]: f"api-{info['name']}" for info in infos if info["pid"]}
        for process in self.init(self.first("api")).children(recursive=True):
            if name := there.get(pid_there(process)):
                pids[name] = process.pid
        return pids

    @property
    def supervisor(self) -> Any:
        return supervisord.connect(self.files(self.first("api")) / "srv/app/var")

    def stop(self, instance: str) -> None:
        if instance.startswith("api"):
            self.supervisor.stopProcess(supervisord.program(instance))
        else:
            self.first(instance).run(f"systemctl stop {unit(instance)}")

    def start(self, instance: str) -> None:
        if instance.startswith("api"):
            self.supervisor.startProcess(supervisord.program(instance), False)
        else:
            self.first(instance).run(f"systemctl start --no-block {unit(instance)}")

    def setting(self, name: str) -> str:
        read = f"cat /srv/app/secrets/{name.lower()} 2>/dev/null || sed -n 's/^{name}=//p' /srv/app/environment"
        return self.first("site").run(read).stdout.strip()

    def read_logs(self, app: str) -> list[list[str]]:
        host = self.first(app)
        if app == "site":
            # Not what systemd says of the unit.
            read = [f"journalctl --quiet --output=cat _SYSTEMD_UNIT={unit(each)}.service" for each in of("site")]
            return [host.run(command).stdout.splitlines() for command in read]
        names = ["access"] if app == "nginx" else ["api-a", "api-b"]
        return [(self.files(host) / f"srv/app/var/log/{name}.log").read_text().splitlines() for name in names]

    def manage(self, *command: str) -> str:
        """What `make manage` runs, whose ARGS cannot be of several lines."""
        manage = [sys.executable, "-m", "deploy.vm", "--inventory", self.environment["INVENTORY"], "manage"]
        done = subprocess.run(
            [*manage, "--arguments", shlex.join(command)],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def administer(self, statement: str) -> None:
        self.on("data")[0].run(f"cd / && psql --quiet --command={shlex.quote(statement)}", user="postgres")

    @contextmanager
    def other_inventory(self, change: Callable[[Any], object]) -> Iterator[None]:
        """In the block, `change` has been made to the inventory, as YAML has it."""
        file = Path(self.environment["INVENTORY"]) / "hosts.yml"
        before = file.read_text()
        changed = yaml.safe_load(before)
        change(changed)
        file.write_text(yaml.safe_dump(changed))
        try:
            yield
        finally:
            file.write_text(before)

    # Releases

    def commit(self, message: str) -> None:
        """What is in the project's files now is what the next deploy is of."""
        author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", "add", "--all"], cwd=self.project, check=True)
        commit = ["git", *author, "commit", "--quiet", "--allow-empty", f"--message={message}"]
        subprocess.run(commit, cwd=self.project, check=True)

    def release(self, host: Host) -> str:
        """The name of a host's current one."""
        return Path(host.run("readlink /srv/app/current").stdout.strip()).name


def pid_there(process: psutil.Process) -> int:
    """A process's pid in the innermost namespace that it is in; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


@contextmanager
def serving(inventory: str, suite: str) -> Iterator[VmStack]:
    """A stack, of a release with faults built in, for the block."""
    with faulty() as project, directory() as files:
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
        # The link that copied() made.
        (project / ".git/info/exclude").write_text(".venv\n")
        stack = VmStack(files, project, inventory, suite)
        stack.commit("The release that is there first")
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


def served(config: pytest.Config, inventory: str) -> Iterator[VmStack]:
    """The fixture of a shape, which has the time from bare hosts to serving in the table."""
    # The option is there only when pytest is told to run tests/hosts.
    suite: str = config.getoption("suite", SUITES[0])
    with serving(inventory, suite) as stack:
        took = ", ".join(f"make {target} {seconds:.1f} s" for target, seconds in stack.seconds.items())
        row = (f"bare {suite} to serving, {inventory}", "", "", "", f"{sum(stack.seconds.values()):.1f}", took)
        config.stash[rows].append(row)
        yield stack


FIVE_LONG = pytest.param("five", marks=pytest.mark.long)
both_shapes = pytest.mark.parametrize("stack", ["vm", "five"], indirect=True)
vm_and_long_five = pytest.mark.parametrize("stack", ["vm", FIVE_LONG], indirect=True)


@pytest.fixture(scope="session")
def vm(pytestconfig: pytest.Config) -> Iterator[VmStack]:
    yield from served(pytestconfig, "one-vm")


@pytest.fixture(scope="session")
def five(pytestconfig: pytest.Config) -> Iterator[VmStack]:
    yield from served(pytestconfig, "five-hosts")
