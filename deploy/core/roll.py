"""The rolling restart: one instance at a time, out of rotation while it restarts, so that no request fails."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from deploy.core import probe
from deploy.core.apps import APPS, INSTANCES, App, Instance
from deploy.core.console import Failed

# Seconds. An instance needs 1 to 3 to start; the rest is for a busy machine.
READY_WITHIN = 30
# A command that answers no requests is ready once it has run this long: startsecs in deploy/supervisor/command.conf.
COMMAND_READY_AFTER = 2


def wait_until(condition: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Return when the condition is true. Raises Failed after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(otherwise())
        time.sleep(0.05)


class Target(ABC):
    """The stack where it runs. A service is nginx or the name of an instance."""

    # The directory of the sockets.
    run: Path
    # Of each instance.
    workers: int
    # Where instances have TCP ports too.
    address: str | None = None

    @abstractmethod
    def restart(self, instance: Instance) -> None: ...

    @abstractmethod
    def replace_nginx(self) -> None: ...

    @abstractmethod
    def why_not_running(self, service: str) -> str:
        """Return why a service that answers no requests is not ready; empty if it is."""

    @abstractmethod
    def stopping_check(self, service: str) -> Callable[[], bool]:
        """Return a function that says whether the service has stopped by itself since this call."""

    @abstractmethod
    def log(self, service: str) -> str:
        """Return the end of a service's log, for people."""

    def why_not_ready(self, service: str) -> str:
        """Return why a service is not ready; empty if it is."""
        if service == "metrics" or (service != "nginx" and not INSTANCES[service].server.listens):
            return self.why_not_running(service)
        return probe.why_not_ready(self.run, service, self.workers, self.address)

    def wait_until_ready(self, service: str) -> None:
        """Raises Failed, with the end of the log, if the service keeps stopping or is not ready in READY_WITHIN."""
        cannot_stay_up = self.stopping_check(service)
        deadline = time.monotonic() + READY_WITHIN
        while reason := self.why_not_ready(service):
            if cannot_stay_up():
                fault = "cannot stay up"
            elif time.monotonic() > deadline:
                fault = f"was not ready within {READY_WITHIN} s: {reason}"
            else:
                time.sleep(0.1)
                continue
            raise Failed(f"{service} {fault}. The end of its log:\n\n{self.log(service)}")

    def is_in_rotation(self, instance: Instance) -> bool:
        return probe.is_in_rotation(self.run, instance.name)

    def take_out_of_rotation(self, instance: Instance) -> None:
        probe.take_out_of_rotation(self.run, instance.name)

    def put_in_rotation(self, instance: Instance) -> None:
        probe.put_in_rotation(self.run, instance.name)

    def wait_until_idle(self, instance: Instance) -> None:
        """Return when the instance, out of rotation, holds no request that a stop would lose."""
        instance.server.wait_until_idle(self.run, instance.name)

    def is_serving(self, instance: Instance) -> bool:
        return self.is_in_rotation(instance) and not self.why_not_ready(instance.name)

    def roll(self, app: App, instances: Iterable[Instance]) -> None:
        """Restart instances of an app one after the other. Raises Failed at the first that does not become ready."""
        # Start with an instance that is not serving, for example after a failed roll, so that the only working one is
        # never stopped.
        for instance in sorted(instances, key=self.is_serving):
            started = time.monotonic()
            try:
                self.take_out_of_rotation(instance)
                self.wait_until_idle(instance)
                self.restart(instance)
                self.wait_until_ready(instance.name)
                self.put_in_rotation(instance)
            except Failed as failed:
                serving = [each.name for each in app.instances if self.is_serving(each)]
                rest = f"{' and '.join(serving)} still serves" if serving else f"no instance of {app.name} serves"
                state = f"It is out of rotation, and {rest}. Fix the cause and run this again."
                raise Failed(f"{failed}\n\n{state}") from None
            print(f"  ✓ {instance} restarted and ready, {time.monotonic() - started:.1f} s", flush=True)

    def restart_all(self, name: str) -> None:
        """Roll one app, or all; or replace nginx."""
        started = time.monotonic()
        for each in [name] if name else APPS:
            print(f"Restart {each}", flush=True)
            if each in APPS:
                self.roll(APPS[each], APPS[each].instances)
            else:
                self.replace_nginx()
        print(f"\nDone in {time.monotonic() - started:.1f} s.")
