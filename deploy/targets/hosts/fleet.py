"""The hosts of an inventory, and a command on one of them."""

import contextlib
import getpass
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

from deploy.env import PROJECT
from deploy.terminal import Failed

ANSIBLE = PROJECT / "deploy/ansible"
BIN = Path(sys.executable).parent
GROUPS = ("edge", "site", "api", "data")
# On the first host. In the file is who holds it; that it is held is a lock, which ends with the holder's connection.
LOCK = "/run/app-deploy.lock"


class Fleet:
    """An inventory: a directory or file, or the name of one in deploy/ansible/inventories."""

    def __init__(self, inventory: str, batch: str = "") -> None:
        self.name = Path(inventory).stem
        found = [path for path in (Path(inventory), ANSIBLE / "inventories" / inventory) if inventory and path.exists()]
        if not found:
            here = ", ".join(sorted(path.name for path in (ANSIBLE / "inventories").iterdir()))
            raise Failed(f"INVENTORY is {inventory!r}: a path, or one of deploy/ansible/inventories ({here})")
        self.path = found[0].resolve()
        self.directory = self.path if self.path.is_dir() else self.path.parent
        self.password = self.directory / ".vault-password"
        listed = json.loads(self.ansible("inventory", "--list"))
        self.variables: dict[str, dict[str, Any]] = listed["_meta"]["hostvars"]
        self.groups: dict[str, list[str]] = {name: listed.get(name, {}).get("hosts", []) for name in GROUPS}
        self.hosts = list(dict.fromkeys(host for name in GROUPS for host in self.groups[name]))
        if missing := [name for name in GROUPS if not self.groups[name]]:
            raise Failed(f"{self.path}: no host in {', '.join(missing)}; every one of {', '.join(GROUPS)} needs one")

        self.held: list[int] = []
        self.batch = {"batch": batch} if batch else {}

    def environment(self) -> dict[str, str]:
        settings = {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg")}
        if self.password.exists():
            settings["ANSIBLE_VAULT_PASSWORD_FILE"] = str(self.password)
        return os.environ | settings

    def ansible(self, program: str, *words: str) -> str:
        """The output of `ansible-PROGRAM`."""
        command = [str(BIN / f"ansible-{program}"), "--inventory", str(self.path), *words]
        # With more than that, what it prints is no JSON.
        quiet = self.environment() | {"ANSIBLE_VERBOSITY": "0"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"ansible-{program} of {self.path}:\n{done.stderr.strip()}")
        return str(done.stdout)

    def play(self, playbook: str, hosts: Sequence[str] = (), **variables: object) -> bool:
        """Runs a playbook, on all hosts or some, which prints what it does; False if it failed."""
        command = [str(BIN / "ansible-playbook"), "--inventory", str(self.path), str(ANSIBLE / f"{playbook}.yml")]
        command += ["--extra-vars", json.dumps(self.batch | variables)]
        command += ["--limit", ",".join(("localhost", *hosts))] if hosts else []
        # It holds the lock too: one whose `make` was killed may still be on its way.
        done = subprocess.run(command, cwd=PROJECT, env=self.environment(), pass_fds=self.held, check=False)
        return done.returncode == 0

    # ssh

    def ssh(self, host: str, command: str) -> list[str]:
        """The words of a command that runs another on a host, as root."""
        known = self.variables[host]
        words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]
        words += shlex.split(known.get("ansible_ssh_common_args", ""))
        for option, name in (("-i", "ansible_ssh_private_key_file"), ("-p", "ansible_port"), ("-l", "ansible_user")):
            words += [option, str(known[name])] if name in known else []
        return [*words, known.get("ansible_host", host), f"sudo -n sh -c {shlex.quote(command)}"]

    def ask(self, host: str, command: str) -> str:
        """What it prints; raises Failed if the host cannot be reached or the command fails."""
        done = subprocess.run(self.ssh(host, command), capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise Failed(f"{host}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """One controller at a time; raises Failed with who it is and since when.

        The lock is held by a process on the first host that ends with this one's connection, however that ends.
        """
        since = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
        who = f"{what}, {getpass.getuser()}@{socket.gethostname()}, since {since}"
        # Read by whoever comes second, so it is written over, and the file is never made anew.
        hold = f"echo {shlex.quote(who)} >{LOCK}; echo held; exec cat >/dev/null"
        take = f"touch {LOCK}; flock --nonblock --conflict-exit-code 75 {LOCK} sh -c {shlex.quote(hold)} || cat {LOCK}"
        with subprocess.Popen(
            self.ssh(self.hosts[0], take),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdin
            assert holder.stdout
            assert holder.stderr
            said = holder.stdout.readline().strip()
            if said != "held":
                holder.stdin.close()
                because = f"another one is on its way: {said}" if said else holder.stderr.read().strip()
                raise Failed(f"{self.hosts[0]}: {because}")
            self.held = [holder.stdin.fileno()]
            try:
                yield
            finally:
                self.held = []
                holder.stdin.close()
