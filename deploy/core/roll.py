"""The rolling restart: one instance at a time, out of rotation while it restarts, so that no request fails."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from .apps import App, Instance
from .console import Failed

# Seconds. An instance needs 1 to 3 to start; the rest is for a busy machine.
READY_WITHIN = 30


class Target(Protocol):
    """What a rolling restart needs of the place where the stack runs."""

    def is_serving(self, instance: Instance) -> bool:
        """In rotation and ready."""

    def take_out_of_rotation(self, instance: Instance) -> None: ...

    def wait_until_idle(self, instance: Instance) -> None:
        """Return when the instance, out of rotation, holds no request that a stop would lose."""

    def restart(self, instance: Instance) -> None: ...

    def wait_until_ready(self, instance: Instance) -> None:
        """Raises Failed with the reason if the instance does not become ready."""

    def put_in_rotation(self, instance: Instance) -> None: ...


def roll(target: Target, instances: Iterable[Instance]) -> Iterator[Instance]:
    """Restart instances one after the other. Yield each one when it is back in rotation.

    Raises Failed at the first instance that does not become ready. It stays out of rotation, and the others serve on.
    """
    # Start with an instance that is not serving, for example after a failed roll, so that the only working one is
    # never stopped.
    for instance in sorted(instances, key=target.is_serving):
        target.take_out_of_rotation(instance)
        target.wait_until_idle(instance)
        target.restart(instance)
        target.wait_until_ready(instance)
        target.put_in_rotation(instance)
        yield instance


def show_roll(target: Target, app: App, instances: Iterable[Instance]) -> None:
    """Roll instances of an app and print each one. Raises Failed with which instances still serve."""
    started = time.monotonic()
    try:
        for instance in roll(target, instances):
            print(f"  ✓ {instance} restarted and ready, {time.monotonic() - started:.1f} s", flush=True)
            started = time.monotonic()
    except Failed as failed:
        serving = [instance.name for instance in app.instances if target.is_serving(instance)]
        rest = f"{' and '.join(serving)} still serves" if serving else f"no instance of {app.name} serves"
        raise Failed(f"{failed}\n\nIt is out of rotation, and {rest}. Fix the cause and run this again.") from None


def wait_until_ready(
    name: str, why_not_ready: Callable[[], str], cannot_stay_up: Callable[[], bool], log: Callable[[], str]
) -> None:
    """Return when `why_not_ready` is empty.

    Raises Failed, with the end of the log, if the service keeps stopping or is not ready within READY_WITHIN seconds.
    """
    deadline = time.monotonic() + READY_WITHIN
    while reason := why_not_ready():
        if cannot_stay_up():
            fault = "cannot stay up"
        elif time.monotonic() > deadline:
            fault = f"was not ready within {READY_WITHIN} s: {reason}"
        else:
            time.sleep(0.1)
            continue
        raise Failed(f"{name} {fault}. The end of its log:\n\n{log()}")
