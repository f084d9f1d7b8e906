"""The hosts of an inventory, and commands on them. It runs on the controller."""

import contextlib
import getpass
import ipaddress
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.core.apps import APPS, PROJECT, App
from deploy.core.console import Failed, printable

ANSIBLE = PROJECT / "deploy/ansible"
BIN = Path(sys.executable).parent
# Each app has a group of its name.
GROUPS = ("edge", *APPS, "data", "monitoring")
# What ssh() follows, and what it does not.
CONNECTION = (
    *("ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args"),
    "ansible_ssh_extra_args",
)
UNSUPPORTED = (
    *("ansible_connection", "ansible_password", "ansible_ssh_pass", "ansible_become_password", "ansible_become_pass"),
    *("ansible_ssh_host", "ansible_ssh_port", "ansible_ssh_user", "ansible_become_user", "ansible_ssh_executable"),
)
# On the first host. The file says who holds the lock; the lock itself ends with the holder's connection.
LOCK = "/run/app-deploy.lock"
# A host without apps has no virtual environment.
HOST_PYTHON = "cd /srv/app/current && { [ -x .venv/bin/python ] && p=.venv/bin/python || p=python3; } && $p"
HOST_COMMAND = f"{HOST_PYTHON} -m deploy.targets.hosts.host"


class Fleet:
    """An inventory: a directory, a file, or the name of a directory in deploy/ansible/inventories.

    `batch` is how many hosts are rolled at a time: a number, or a share such as 25%.
    """

    def __init__(self, inventory: str, batch: str = "") -> None:
        self.name = Path(inventory).stem
        self.path = find_inventory(inventory)
        self.directory = self.path if self.path.is_dir() else self.path.parent
        self.password = self.directory / ".vault-password"
        if vaulted := self.vaulted_file():
            raise Failed(
                f"{vaulted} is encrypted, and its password is missing: put it into {self.password} (chmod 600), or set "
                "ANSIBLE_VAULT_PASSWORD_FILE to the path of its file"
            )
        listed = json.loads(self.ansible("inventory", "--list"))
        self.variables: dict[str, dict[str, Any]] = listed["_meta"]["hostvars"]
        self.groups: dict[str, list[str]] = {name: listed.get(name, {}).get("hosts", []) for name in GROUPS}
        self.hosts = list(dict.fromkeys(host for name in GROUPS for host in self.groups[name]))
        if missing := [name for name in ("edge", *APPS) if not self.groups[name]]:
            raise Failed(
                f"{self.path}: no host in the group {', '.join(missing)}. Add the group, with at least one host: the "
                f"stack needs edge, and a group for each app in deploy/apps.toml ({', '.join(APPS)})"
            )
        self.check_connections()
        self.app_hosts = [host for host in self.hosts if any(host in self.groups[app] for app in APPS)]
        # Hosts that run nginx or an app. Those with nginx are first.
        self.serving = [host for host in self.hosts if host in [*self.groups["edge"], *self.app_hosts]]
        self.held: list[int] = []
        self.batch = {"batch": batch} if batch else {}

    def vaulted_file(self) -> str:
        """Return an encrypted file of the inventory, if there is one and no password for it."""
        if self.password.exists() or "ANSIBLE_VAULT_PASSWORD_FILE" in os.environ:
            return ""
        files = self.path.rglob("*") if self.path.is_dir() else (self.directory.glob("*_vars/**/*"))
        readable = (file for file in files if file.is_file() and file.suffix in (".yml", ".yaml", ""))
        return next((str(file) for file in readable if file.read_bytes()[:14] == b"$ANSIBLE_VAULT"), "")

    def check_connections(self) -> None:
        """Raises Failed if a host has a variable of Ansible's that this program's own ssh would not follow."""
        for host in self.hosts:
            for name, value in self.variables[host].items():
                if name in CONNECTION and "{{" in str(value):
                    raise Failed(
                        f"{host}: {name} is {value!r}: write the value itself, without a template. Commands connect by "
                        "ssh with it, and only playbooks fill templates in"
                    )
                if name in UNSUPPORTED and (name, value) != ("ansible_connection", "ssh"):
                    raise Failed(
                        f"{host}: {name} is not supported: connect by ssh with a key, and sudo without a password"
                    )

    def first(self, app: App) -> str:
        return self.groups[app.name][0]

    def groups_of(self, host: str) -> list[str]:
        return [name for name in GROUPS if host in self.groups[name]]

    def environment(self) -> dict[str, str]:
        vault = {"ANSIBLE_VAULT_PASSWORD_FILE": str(self.password)} if self.password.exists() else {}
        return os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg")} | vault

    def ansible(self, program: str, *words: str, text: str = "") -> str:
        """Run `ansible-PROGRAM` with `text` as its input. Return its output. Raises Failed with its errors."""
        # A higher verbosity breaks the JSON of ansible-inventory.
        quiet = self.environment() | {"ANSIBLE_VERBOSITY": "0"}
        command = [str(BIN / f"ansible-{program}"), *words]
        if program == "inventory":
            command += ["--inventory", str(self.path)]
        done = subprocess.run(command, env=quiet, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"ansible-{program} of {self.path}:\n{done.stderr.strip()}")
        return str(done.stdout)

    def play(self, playbook: str, hosts: Sequence[str] = (), **variables: object) -> bool:
        """Run a playbook on all hosts, or some. Return False if it failed."""
        command = [str(BIN / "ansible-playbook"), "--inventory", str(self.path), str(ANSIBLE / f"{playbook}.yml")]
        command += ["--extra-vars", json.dumps(self.batch | variables)]
        command += ["--limit", ",".join(("localhost", *hosts))] if hosts else []
        # The playbook holds the lock too: it may still run after `make` was killed.
        done = subprocess.run(command, cwd=PROJECT, env=self.environment(), pass_fds=self.held, check=False)
        return done.returncode == 0

    def ssh(self, host: str, command: str, terminal: bool = False) -> list[str]:
        """Return the words of a command that runs another one on a host, as root."""
        known = self.variables[host]
        words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]
        words += ["-tt"] if terminal else []
        for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
            words += shlex.split(known.get(name, ""))
        for option, name in (("-i", "ansible_ssh_private_key_file"), ("-p", "ansible_port"), ("-l", "ansible_user")):
            words += [option, str(known[name])] if name in known else []
        return [*words, known.get("ansible_host", host), f"sudo -n sh -c {shlex.quote(command)}"]

    def ask(self, host: str, command: str, timeout: float = 120) -> str:
        """Return what a command on a host prints. Raises Failed if it fails or the host does not answer."""
        done = subprocess.run(self.ssh(host, command), capture_output=True, text=True, check=False, timeout=timeout)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().split("\n")
            raise Failed(f"{host}: " + "\n".join(map(printable, said)))
        return done.stdout.strip()

    def virtual_addresses(self) -> dict[str, list[str]]:
        """Return the addresses that move between the edges, each with the edges that have it: one, unless it fails."""
        edges = self.groups["edge"]
        found: dict[str, list[str]] = {
            str(ipaddress.ip_address(each)): [] for each in self.variables[edges[0]].get("virtual_addresses", [])
        }
        for host in edges if found else []:
            with contextlib.suppress(Failed, subprocess.TimeoutExpired):
                own = self.ask(host, "hostname --all-ip-addresses").split()
                for address in found.keys() & own:
                    found[address].append(host)
        return found

    def show(self, host: str, command: str) -> None:
        """Run a command on a host and let it print. Raises Failed if it fails."""
        if subprocess.run(self.ssh(host, command), stdin=subprocess.DEVNULL, check=False).returncode:
            raise Failed(f"{host}: this failed, and the hosts after it were not touched. See above")

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Let one controller work at a time. Raises Failed with who it is and since when.

        A process on the first host holds the lock. It ends with the connection, however that ends.
        """
        since = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
        who = f"{what}, {getpass.getuser()}@{socket.gethostname()}, since {since}"
        # The next controller reads the file, so it is overwritten and never replaced.
        hold = f"echo {shlex.quote(who)} >{LOCK}; echo held; exec cat >/dev/null"
        take = f"touch {LOCK}; flock --nonblock --conflict-exit-code 75 {LOCK} sh -c {shlex.quote(hold)} || cat {LOCK}"
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(self.ssh(self.hosts[0], take), text=True, **pipes) as holder:
            assert holder.stdin
            assert holder.stdout
            assert holder.stderr
            said = holder.stdout.readline().strip()
            if said != "held":
                holder.stdin.close()
                because = f"another one is running: {said}" if said else holder.stderr.read().strip()
                raise Failed(f"{self.hosts[0]}: {because}")
            self.held = [holder.stdin.fileno()]
            try:
                yield
            finally:
                self.held = []
                holder.stdin.close()


def find_inventory(inventory: str) -> Path:
    """Return the path of an inventory. Raises Failed with the names of those in the project."""
    examples = ANSIBLE / "inventories"
    for path in (Path(inventory), examples / inventory):
        if inventory and path.exists():
            return path.resolve()
    names = ", ".join(sorted(path.name for path in examples.iterdir()))
    raise Failed(f"INVENTORY is {inventory!r}: should be a path, or one of deploy/ansible/inventories ({names})")
