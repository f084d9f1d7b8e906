"""The stack on booted hosts, set up as an operator does: `make secrets`, `make provision`, `make deploy`."""

import ipaddress
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from queue import Queue
from typing import Any

import psutil
import yaml

from deploy.core import supervisor
from deploy.targets.hosts.target import has_own_unit
from tests.backup_bucket import Bucket, backup_bucket
from tests.faults import self_signed
from tests.hosts.hosts import Host, Network, hosts, members, shape
from tests.servers import free_port
from tests.stacks import Stack, enter
from tests.webhook import webhook

# The services of the data host. A pattern matches no stopped unit; the PostgreSQL cluster follows postgresql.service.
UNITS = {"database": "postgresql.service", "redis": "redis-server.service"}
# The unit that contains the processes.
PROCESSES = {"database": "postgresql@*-main.service", "redis": "redis-server.service"}
METRICS_PORT = 9145


class HostsStack(Stack):
    """Hosts in the shape of an example inventory. Releases come from `project`, which becomes a git repository.

    Clients are on this machine. Their addresses are routed to it, so hosts answer through their gateway: this machine.
    """

    rolls_back = True
    slower = 4.0
    network: Network
    # The address that clients connect to, if it is not that of the first edge.
    entry = ""
    # What the hosts send to alert_url.
    alerts: Queue[Any]
    # BACKUP_URL has a prefix in it.
    bucket: Bucket

    def __init__(
        self, directory: Path, project: Path, inventory: str, suite: str, groups: Mapping[str, list[str]] = {}
    ) -> None:
        own = {"INVENTORY": str(directory / "inventory"), "TLS": "on", "PORT": "443"}
        super().__init__(directory, own | {"TLS_CERTIFICATE": str(directory / "certificate.pem")}, project)
        self.name = inventory
        # The hosts of each group. `groups` adds more groups than the example has.
        self.shape = shape(inventory) | dict(groups)
        self.suite = suite
        self.ending = ExitStack()
        # The duration of each command.
        self.seconds: dict[str, float] = {}
        self.known_init: dict[str, psutil.Process] = {}
        self.mail_port = free_port()
        self.alert_port = free_port()
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
        # copied() created a symbolic link.
        (project / ".git/info/exclude").write_text(".venv\n")

    def up(self) -> str:
        self.network = self.ending.enter_context(hosts(members(self.shape), self.suite))
        self.alerts = self.ending.enter_context(webhook(self.alert_port))
        route = ["ip", "route", "replace", "local", str(self.clients), "dev", "lo"]
        subprocess.run(route, check=True)
        self.ending.callback(subprocess.run, ["delete" if word == "replace" else word for word in route], check=True)
        directory = Path(self.certificate).parent
        self.bucket = self.ending.enter_context(backup_bucket(directory, self.outward))
        self.write_inventory()
        self.commit("The first release")
        said = ""
        for target in ("secrets", "provision", "deploy"):
            began = time.monotonic()
            done = self.make(target)
            self.seconds[target] = time.monotonic() - began
            assert done.returncode == 0, done.stdout
            said += done.stdout
            if target == "secrets":
                self.add_secret("EMAIL_URL", f"smtp://{self.outward}:{self.mail_port}")
                if len(self.shape["data"]) > 1:
                    # A project may have no site.
                    from tests.site.media.buckets import bucket

                    self.add_secret("S3_URL", self.ending.enter_context(bucket(self.outward)))
                self.add_secret("BACKUP_URL", f"{self.bucket.url}/shop")
        Path(self.certificate).write_text(self.first("nginx").run("cat /srv/app/secrets/tls_certificate").stdout)
        return said

    def write_inventory(self) -> None:
        edges = [host.address for host in self.on("edge")]
        # `localhost` because tests of every target use it.
        settings = {"DEBUG_UPSTREAM": True, "TRUSTED_PROXIES": self.proxy, "METRICS_PORT": METRICS_PORT}
        variables: dict[str, Any] = {"domains": [*edges, "localhost", "[::1]"], "cores": 2, "settings": settings}
        variables["ca_file"] = str(self.bucket.authority)
        variables["alert_url"] = f"http://{self.outward}:{self.alert_port}/"
        variables["prometheus_addresses"] = [self.first("site").address]
        if len(edges) > 1:
            variables["virtual_addresses"] = [*self.virtual_addresses]
            variables["domains"] += [self.virtual_addresses[0], f"[{self.virtual_addresses[1]}]"]
            # The single VM tests a self-signed certificate.
            own = self_signed(Path(self.certificate).parent, *edges, *self.virtual_addresses, "::1")
            variables |= {"tls": "own"} | {name.lower(): path for name, path in own.items()}
        self.network.inventory(Path(self.environment["INVENTORY"]) / "hosts.yml", self.shape, variables)

    def add_secret(self, name: str, value: str) -> None:
        """Edit the encrypted file, as an operator does."""
        directory = Path(self.environment["INVENTORY"])
        vault, file = Path(sys.executable).with_name("ansible-vault"), directory / "group_vars/all/secrets.yml"
        command = [str(vault), "edit", f"--vault-password-file={directory}/.vault-password", str(file)]
        editor = f"sed --in-place -e '/^  {name}:/d' -e 's|^secrets:|&\\n  {name}: {value}|'"
        subprocess.run(command, env=os.environ | {"EDITOR": editor}, check=True)

    def deploy(self) -> subprocess.CompletedProcess[str]:
        self.commit("Another release")
        return self.make("deploy")

    def down(self) -> None:
        self.ending.close()

    def on(self, group: str) -> list[Host]:
        return [self.network[name] for name in self.shape[group]]

    def first(self, service: str) -> Host:
        """Return the first host with a service: nginx, an app or an instance."""
        return self.on("edge" if service == "nginx" else service.partition("-")[0])[0]

    @property
    def edge_services(self) -> list[str]:
        return ["nginx", "keepalived"] if len(self.shape["edge"]) > 1 else ["nginx"]

    # Clients

    @property
    def virtual_addresses(self) -> tuple[str, str]:
        """Return the addresses of IPv4 and IPv6 that move between several edges."""
        return self.network.addresses(200)

    def holder(self) -> str:
        """Return the name of the host with the virtual addresses. Raises AssertionError unless it is one with both."""
        running = [host for host in self.on("edge") if host.booted]
        own = {host.name: host.run("hostname --all-ip-addresses").stdout.split() for host in running}
        holders = [{name for name in own if address in own[name]} for address in self.virtual_addresses]
        assert holders[0] == holders[1], own
        [holder] = holders[0]
        return holder

    @property
    def host(self) -> str:
        return self.entry or self.first("nginx").address

    @property
    def outward(self) -> str:
        return self.network.gateway

    def send_mail_to(self, port: int) -> None:
        """It is the mail server's port since the first provision."""
        assert port == self.mail_port

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
    def ipv6(self) -> str:
        enter(f"/proc/{self.init(self.first('nginx')).pid}/ns/net")
        return f"[::1]:{self.port}"

    @property
    def clients(self) -> ipaddress.IPv4Network:
        """Addresses for clients, from the range for carrier-grade NAT (RFC 6598), which is large enough."""
        return [*ipaddress.IPv4Network("100.64.0.0/10").subnets(new_prefix=18)][self.network.number]

    @property
    def proxy(self) -> str:
        """Return the address of TRUSTED_PROXIES, the last one for clients."""
        return str(self.clients[-2])

    @cached_property
    def addresses(self) -> Iterator[str]:
        return map(str, itertools.cycle(self.clients.hosts()))

    def files(self, host: Host) -> Path:
        """Return the path of a host's / on this machine."""
        return Path(f"/proc/{self.init(host).pid}/root")

    @property
    def seen(self) -> Path:
        return self.files(self.first("nginx")) / "srv/app/var"

    # Processes and logs

    def init(self, host: Host) -> psutil.Process:
        """Return the host's first process, which has another pid on this machine."""
        known = self.known_init.get(host.name)
        if not known or not known.is_running():
            assert host.booted, f"{host.name} is off"
            family = psutil.Process(host.booted.pid).children(recursive=True)
            known = self.known_init[host.name] = next(process for process in family if pid_there(process) == 1)
        return known

    def pids_here(self, host: Host, there: Mapping[str, int]) -> dict[str, int]:
        """Return the pids on this machine of services whose pids on a host are in `there`; 0 if one does not run."""
        found = {pid_there(process): process.pid for process in self.init(host).children(recursive=True)}
        return {name: found.get(pid, 0) if pid else 0 for name, pid in there.items()}

    def unit(self, service: str) -> str:
        return self.instances[service].server.unit.format(instance=service) if service in self.instances else service

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for service in ("nginx", *self.instances):
            host = self.first(service)
            if service == "nginx" or has_own_unit(self.instances[service]):
                pid = int(host.run(f"systemctl show --property=MainPID --value {self.unit(service)}").stdout)
            else:
                pid = self.supervisor(host).getProcessInfo(service)["pid"]
            found |= self.pids_here(host, {service: pid})
        return found

    def supervisor(self, host: Host) -> Any:
        return supervisor.connect(self.files(host) / "srv/app/var")

    def stop(self, instance: str) -> None:
        host = self.first(instance)
        if has_own_unit(self.instances[instance]):
            host.run(f"systemctl stop {self.unit(instance)}")
        else:
            self.supervisor(host).stopProcess(instance)

    def start(self, instance: str) -> None:
        host = self.first(instance)
        if has_own_unit(self.instances[instance]):
            host.run(f"systemctl start --no-block {self.unit(instance)}")
        else:
            self.supervisor(host).startProcess(instance, False)

    def exit_status(self, instance: str) -> int:
        host = self.first(instance)
        if has_own_unit(self.instances[instance]):
            return int(host.run(f"systemctl show --property=ExecMainStatus --value {self.unit(instance)}").stdout)
        info = self.supervisor(host).getProcessInfo(instance)
        assert info["statename"] == "STOPPED", info
        return int(info["exitstatus"])

    def setting(self, name: str) -> str:
        secret = f"cat /srv/app/secrets/{name.lower()} 2>/dev/null"
        return (
            self.on("site")[0]
            .run(f"{secret} || sed -n \"s/^{name}='\\(.*\\)'$/\\1/p\" /srv/app/environment")
            .stdout.strip()
        )

    def read_logs(self, app: str) -> list[list[str]]:
        host = self.first(app)
        if app == "nginx":
            return [self.log(host, "access")]
        found = []
        for name in self.instances_of(app):
            if has_own_unit(self.instances[name]):
                # Exclude the lines that systemd writes about the unit.
                read = f"journalctl --quiet --output=cat _SYSTEMD_UNIT={self.unit(name)}.service"
                found.append(host.run(read).stdout.splitlines())
            else:
                found.append(self.log(host, name))
        return found

    def log(self, host: Host, name: str) -> list[str]:
        return (self.files(host) / f"srv/app/var/log/{name}.log").read_text().splitlines()

    def manage(self, *command: str) -> str:
        """Run what `make manage` runs. Its ARGS cannot have several lines."""
        manage = [sys.executable, "-m", "deploy", "manage", "--inventory", self.environment["INVENTORY"]]
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

    def outage(self, service: str, how: str) -> AbstractContextManager[None]:
        if how == "stopped":
            return self.around(f"systemctl stop {UNITS[service]}", f"systemctl start {UNITS[service]}")
        if how == "frozen":
            kill = f"systemctl kill '{PROCESSES[service]}' --signal"
            return self.around(f"{kill}=STOP", f"{kill}=CONT")
        return super().outage(service, how)

    @contextmanager
    def around(self, before: str, after: str) -> Iterator[None]:
        self.on("data")[0].run(before)
        try:
            yield
        finally:
            self.on("data")[0].run(after)

    @contextmanager
    def other_inventory(self, change: Callable[[Any], object]) -> Iterator[None]:
        """For the block, change the inventory. `change` gets its YAML as objects."""
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
        """Commit the project's files, for the next deploy."""
        author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", "add", "--all"], cwd=self.project, check=True)
        commit = ["git", *author, "commit", "--quiet", "--allow-empty", f"--message={message}"]
        subprocess.run(commit, cwd=self.project, check=True)

    def release(self, host: Host) -> str:
        """Return the name of a host's current release."""
        return Path(host.run("readlink /srv/app/current").stdout.strip()).name


def pid_there(process: psutil.Process) -> int:
    """Return a process's pid in its innermost namespace; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])
