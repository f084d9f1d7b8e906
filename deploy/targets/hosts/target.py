"""The instances of this host. Each is a systemd unit of its own, or a program of the host's supervisord."""

import contextlib
import os
import time
from collections.abc import Callable

from deploy.core import probe, supervisor
from deploy.core.apps import INSTANCES, Instance
from deploy.core.console import LOG_END, Failed, ok, output, readable_end, run
from deploy.core.cores import cores
from deploy.core.roll import COMMAND_READY_AFTER, Target, wait_until
from deploy.servers import SERVERS

from . import edge
from .system import CURRENT, ENVIRONMENT, RUN, SECRETS, VAR, current, instances_here, release_of

# nginx's certificate, which is renewed every two months.
NGINX_SECRETS = ("tls_certificate", "tls_key")


class Unit:
    """An instance that is a systemd unit."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.unit = instance.server.unit.format(instance=instance)

    def show(self, name: str) -> str:
        """Return a property of the unit. Source: systemctl(1)."""
        return output("systemctl", "show", f"--property={name}", "--value", self.unit)

    def pid(self) -> int:
        """Return the pid of the master; 0 if it does not run."""
        return int(self.show("MainPID"))

    def restart(self) -> None:
        run("systemctl", "stop", self.unit)
        # Reset systemd's restart counter: cannot_stay_up() reads it, and a stop between two automatic restarts would
        # keep the old count.
        output("systemctl", "reset-failed", self.unit)
        run("systemctl", "start", self.unit)

    def cannot_stay_up(self) -> bool:
        return self.show("ActiveState") == "failed" or self.show("NRestarts") != "0"

    def why_not_running(self) -> str:
        state, since = self.show("ActiveState"), self.show("ActiveEnterTimestampMonotonic")
        if state != "active":
            return f"systemd says {state}"
        return "" if time.monotonic() - int(since) / 1e6 > COMMAND_READY_AFTER else "it has just started"

    def log_command(self, lines: int) -> list[str]:
        return ["journalctl", "--unit", self.unit, f"--lines={lines}", "--output=cat"]


class Program(Unit):
    """An instance under supervisord. One unit runs all of them."""

    def pid(self) -> int:
        with contextlib.suppress(OSError):
            return int(supervisor.connect(VAR).getProcessInfo(self.instance.name)["pid"])
        return 0

    def restart(self) -> None:
        run("systemctl", "start", self.unit)
        failure = f"supervisord does not answer: journalctl --unit {self.unit}"
        wait_until(lambda: supervisor.is_answering(VAR), lambda: failure)
        supervisor.restart(supervisor.connect(VAR), self.instance.name)

    def cannot_stay_up(self) -> bool:
        return supervisor.cannot_stay_up(supervisor.connect(VAR), self.instance.name)

    def why_not_running(self) -> str:
        return supervisor.why_not_running(supervisor.connect(VAR), self.instance.name)

    def log_command(self, lines: int) -> list[str]:
        return ["tail", f"--lines={lines}", str(VAR / f"log/{self.instance}.log")]


def has_own_unit(instance: Instance) -> bool:
    return "{instance}" in instance.server.unit


def unit_of(instance: Instance) -> Unit:
    return Unit(instance) if has_own_unit(instance) else Program(instance)


def programs_here() -> list[str]:
    return [instance.name for instance in instances_here() if not has_own_unit(instance)]


def write_programs() -> None:
    """Write a file for each of supervisord's programs on this host. It runs as the user of supervisord."""
    supervisor.write_programs(VAR, programs_here(), CURRENT)


def remove_unregistered() -> list[str]:
    """Stop, for good, instances that left the registry or this host. Return the names of their units and programs."""
    wanted = {unit_of(instance).unit for instance in instances_here()}
    patterns = [server.unit.format(instance="*") + ".service" for server in SERVERS.values()]
    lines = output("systemctl", "list-units", "--all", "--plain", "--no-legend", *patterns).splitlines()
    removed = {line.split()[0].removesuffix(".service") for line in lines} - wanted
    # nginx on every host has its new configuration already.
    for unit in removed:
        # supervisord's unit is of no instance.
        if instance := unit.partition("@")[2]:
            probe.finish_requests(RUN, instance)
        run("systemctl", "disable", "--now", unit)
        if instance:
            probe.remove_sockets(RUN, instance)
    if programs_here() and supervisor.is_answering(VAR):
        removed.update(supervisor.remove_unregistered(VAR))
    return sorted(removed)


class HostTarget(Target):
    run = RUN

    def __init__(self) -> None:
        self.workers = cores()
        self.address = os.environ.get("BIND")

    def release(self, instance: Instance) -> str:
        """Return the name of the release that an instance runs; empty if it does not run."""
        return release_of(unit_of(instance).pid())

    def is_up_to_date(self, instance: Instance) -> bool:
        """Return whether an instance serves the current release, with the current settings and secrets."""
        import psutil

        if self.release(instance) != current() or not self.is_serving(instance):
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(unit_of(instance).pid()).create_time()
            read = [ENVIRONMENT, *(file for file in SECRETS.iterdir() if file.name not in NGINX_SECRETS)]
            return all(file.stat().st_mtime < started for file in read)
        return False

    def out_elements(self, instance: Instance) -> str:
        """Return nft's words for the instance's ports in the set of ports out of rotation; empty if it has none."""
        ports = ", ".join(map(str, instance.ports(self.workers)))
        return f"element inet filter out {{ {ports} }}" if ports else ""

    def take_out_of_rotation(self, instance: Instance) -> None:
        """Make the firewall reject nginx on other hosts too. It has sent nothing yet, so it tries the next server."""
        super().take_out_of_rotation(instance)
        if elements := self.out_elements(instance):
            run("nft", f"add {elements}")

    def put_in_rotation(self, instance: Instance) -> None:
        if elements := self.out_elements(instance):
            # Added first, because nft cannot delete an element that is not in the set.
            run("nft", f"add {elements}; delete {elements}")
        super().put_in_rotation(instance)

    def restart(self, instance: Instance) -> None:
        unit_of(instance).restart()

    def replace_nginx(self) -> None:
        """Start nginx, or make it read changed files. Raises Failed if it does not accept them."""
        answers = not self.why_not_ready("nginx")
        try:
            run("systemctl", "reload-or-restart" if answers else "restart", "nginx")
        except Failed as failed:
            raise Failed(f"{failed}\n\nThe end of nginx's log:\n\n{self.log('nginx')}") from None
        failure = "nginx does not answer. The end of its log:\n\n"
        wait_until(lambda: not self.why_not_ready("nginx"), lambda: failure + self.log("nginx"))
        edge.come_back()
        ok("nginx uses the files of this release")

    def why_not_served(self) -> str:
        """Return why a visitor gets no page of an app through this host's nginx; empty if each app is served."""
        address, _, port = os.environ["LISTEN"].rpartition(":")
        return probe.why_not_served(address.strip("[]"), port, os.environ)

    def why_not_running(self, service: str) -> str:
        return unit_of(INSTANCES[service]).why_not_running()

    def stopping_check(self, service: str) -> Callable[[], bool]:
        return unit_of(INSTANCES[service]).cannot_stay_up

    def log(self, service: str) -> str:
        if service in INSTANCES:
            return readable_end(output(*unit_of(INSTANCES[service]).log_command(LOG_END)))
        return readable_end(output("journalctl", "--unit", service, f"--lines={LOG_END}", "--output=cat"))
