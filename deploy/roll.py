"""How an app is restarted without a failed request: one instance at a time, out of nginx's sight meanwhile.

nginx knows an instance by a path through `upstream/`, a symbolic link to the directory of its sockets. The link is the
switch. Without it nginx finds no socket, has sent nothing, and asks the next server, for a POST too; who waits in the
instance's own queue is still served. Nothing is reloaded: an nginx that reloads closes idle connections of clients
that may be sending at that moment, and cuts, 20 s later, the watchers of every instance (docs/reliability.md counts).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol


def take_out(run: Path, instance: str) -> None:
    """From now on nginx sends nothing new to an instance (`site-a`), whatever becomes of it."""
    (run / "upstream" / instance).unlink(missing_ok=True)


def take_back(run: Path, instance: str) -> None:
    link = run / "upstream" / instance
    if not link.is_symlink():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to("..")


def is_in(run: Path, instance: str) -> bool:
    return (run / "upstream" / instance).is_symlink()


class Deployment(Protocol):
    """What a roll needs of the place that it happens in; `instance` is `site-a` and the like."""

    def serves(self, instance: str) -> bool:
        """It is in, and ready."""

    def take_out(self, instance: str) -> None: ...

    def wait_idle(self, instance: str) -> None:
        """Returns when the instance, which is out, holds no request that a stop would lose."""

    def restart(self, instance: str) -> None: ...

    def wait_ready(self, instance: str) -> None:
        """Raises an exception that says why, if it does not get ready."""

    def take_back(self, instance: str) -> None: ...


def roll(deployment: Deployment, instances: Iterable[str]) -> Iterator[str]:
    """Restarts the instances of an app one after the other; yields each when it is back.

    At the first that does not get ready it ends with what wait_ready raises: that one stays out, the others serve on.
    """
    # First one that does not serve, after a roll that failed, say: the other must not go while it is alone.
    for instance in sorted(instances, key=deployment.serves):
        deployment.take_out(instance)
        deployment.wait_idle(instance)
        deployment.restart(instance)
        deployment.wait_ready(instance)
        deployment.take_back(instance)
        yield instance
