"""How an instance runs on a host: as a systemd unit of its own, or as a program of the host's supervisord."""

import contextlib
import time

from deploy.core import rotation, supervisor
from deploy.core.apps import Instance
from deploy.servers import SERVERS

from .system import CURRENT, RUN, VAR, instances_here, output, run, wait_until

# Seconds that a command has to run before it counts as ready, as startsecs in deploy/supervisor/command.conf.
STEADY = 2


class Unit:
    """An instance that is a systemd unit."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.unit = instance.server.unit.format(instance=instance)

    def show(self, *properties: str) -> list[str]:
        """Return properties of the unit, in systemd's own order. Source: systemctl(1)."""
        return output("systemctl", "show", f"--property={','.join(properties)}", "--value", self.unit).splitlines()

    def pid(self) -> int:
        """Return the pid of the master; 0 if it does not run."""
        return int(self.show("MainPID")[0])

    def restart(self) -> None:
        run("systemctl", "stop", self.unit)
        # Reset systemd's restart counter: cannot_stay_up() reads it, and a stop between two automatic restarts would
        # keep the old count.
        output("systemctl", "reset-failed", self.unit)
        run("systemctl", "start", self.unit)

    def cannot_stay_up(self) -> bool:
        return self.show("ActiveState") == ["failed"] or self.show("NRestarts") != ["0"]

    def why_not_running(self) -> str:
        """Return why an instance that answers no requests is not ready; empty if it is."""
        [state], [since] = self.show("ActiveState"), self.show("ActiveEnterTimestampMonotonic")
        if state != "active":
            return f"systemd says {state}"
        return "" if time.monotonic() - int(since) / 1e6 > STEADY else "it has just started"

    def log_command(self) -> list[str]:
        return ["journalctl", "--unit", self.unit, "--lines=20", "--output=cat"]


class Program(Unit):
    """An instance under supervisord. One unit runs all of them."""

    def pid(self) -> int:
        with contextlib.suppress(OSError):
            return int(supervisor.connect(VAR).getProcessInfo(self.instance.name)["pid"])
        return 0

    def restart(self) -> None:
        run("systemctl", "start", self.unit)
        wait_until(lambda: supervisor.is_answering(VAR), f"supervisord does not answer: journalctl --unit {self.unit}")
        supervisor.restart(supervisor.connect(VAR), self.instance.name)

    def cannot_stay_up(self) -> bool:
        return supervisor.cannot_stay_up(supervisor.connect(VAR), self.instance.name)

    def why_not_running(self) -> str:
        state = supervisor.state(supervisor.connect(VAR), self.instance.name)
        return "" if state == "RUNNING" else f"supervisord says {state}"

    def log_command(self) -> list[str]:
        return ["tail", "--lines=20", str(VAR / f"log/{self.instance}.log")]


def unit_of(instance: Instance) -> Unit:
    return Unit(instance) if has_own_unit(instance) else Program(instance)


def has_own_unit(instance: Instance) -> bool:
    return "{instance}" in instance.server.unit


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
    for unit in removed:
        finish_requests(unit.partition("@")[2])
        run("systemctl", "disable", "--now", unit)
    if programs_here() and supervisor.is_answering(VAR):
        connected = supervisor.connect(VAR)
        for program in supervisor.reread(connected)[2]:
            finish_requests(program)
            supervisor.remove(connected, program)
            removed.add(program)
    return sorted(removed)


def finish_requests(instance: str) -> None:
    """Wait until an instance that left the registry is idle. nginx on every host has its new configuration already."""
    rotation.take_out_of_rotation(RUN, instance)
    # Its kind left the registry with it. Kinds without its files return at once.
    for server in SERVERS.values():
        server.wait_until_idle(RUN, instance)
