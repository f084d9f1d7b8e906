"""The instances of this host, and how to roll them."""

import contextlib
import os
from pathlib import Path

from deploy.core import probe, rotation
from deploy.core.apps import App, Instance
from deploy.core.console import readable
from deploy.core.roll import show_roll, wait_until_ready
from deploy.servers.base import get

from .releases import current
from .system import ENVIRONMENT, RELEASES, RUN, SECRETS, output, run, wait_until
from .units import unit_of

# nginx's certificate, which is renewed every two months.
NGINX_SECRETS = ("tls_certificate", "tls_key")


class HostTarget:
    def __init__(self) -> None:
        self.workers = int(os.environ["CORES"])

    def release(self, instance: Instance) -> str:
        """Return the name of the release that an instance runs: its working directory. Empty if it does not run."""
        with contextlib.suppress(OSError):
            works = Path(f"/proc/{unit_of(instance).pid()}/cwd").resolve(strict=True)
            return works.relative_to(RELEASES).parts[0] if works.is_relative_to(RELEASES) else ""
        return ""

    def is_current(self, instance: Instance) -> bool:
        """Return whether an instance runs the current release, with the current settings and secrets."""
        import psutil

        if self.release(instance) != current():
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(unit_of(instance).pid()).create_time()
            # Not nginx's certificate, which is renewed every two months.
            read = [
                ENVIRONMENT,
                *(file for file in SECRETS.iterdir() if file.name not in ("tls_certificate", "tls_key")),
            ]
            return all(file.stat().st_mtime < started for file in read)
        return False

    def why_not_ready(self, instance: Instance) -> str:
        """Return why an instance is not ready; empty if it is."""
        if not instance.server.listens:
            return unit_of(instance).why_not_running()
        return probe.why_not_ready(RUN, instance.name, self.workers)

    def is_in_rotation(self, instance: Instance) -> bool:
        return rotation.is_in_rotation(RUN, instance.name)

    def is_serving(self, instance: Instance) -> bool:
        return self.is_in_rotation(instance) and not self.why_not_ready(instance)

    def ports(self, instance: Instance) -> str:
        return ", ".join(map(str, instance.ports(self.workers)))

    def take_out_of_rotation(self, instance: Instance) -> None:
        """Remove the link that nginx on this host follows, and make the firewall reject nginx on other hosts.

        A rejected nginx has sent nothing yet, so it tries the next server.
        """
        rotation.take_out_of_rotation(RUN, instance.name)
        if ports := self.ports(instance):
            run("nft", "add", "element", "inet", "filter", "out", f"{{ {ports} }}")

    def put_in_rotation(self, instance: Instance) -> None:
        if ports := self.ports(instance):
            # Added first, because nft cannot delete an element that is not in the set.
            elements = f"inet filter out {{ {ports} }}"
            run("nft", f"add element {elements}; delete element {elements}")
        rotation.put_in_rotation(RUN, instance.name)

    def wait_until_idle(self, instance: Instance) -> None:
        instance.server.wait_until_idle(RUN, instance.name)

    def restart(self, instance: Instance) -> None:
        unit_of(instance).restart()

    def wait_until_ready(self, instance: Instance) -> None:
        unit = unit_of(instance)
        wait_until_ready(
            instance.name, lambda: self.why_not_ready(instance), unit.cannot_stay_up, lambda: readable_log(instance)
        )

    def roll(self, app: App, every: bool = False) -> None:
        """Restart the instances of an app that do not serve, or that are not up to date, or all of them.

        Raises Failed at the first that does not become ready.
        """
        stale = [each for each in app.instances if every or not (self.is_current(each) and self.is_serving(each))]
        show_roll(self, app, stale)


def readable_log(instance: Instance) -> str:
    return "\n".join(map(readable, output(*unit_of(instance).log_command()).splitlines()))


def why_nginx_not_ready() -> str:
    return probe.why_nginx_not_ready(RUN)


def apply_nginx() -> None:
    """Start nginx, or make it read changed files. Raises Failed if it does not accept them."""
    running = get(RUN / "nginx.sock", "/")[0]
    run("systemctl", "reload-or-restart" if running else "restart", "nginx")
    wait_until(lambda: not why_nginx_not_ready(), "nginx does not answer: journalctl --unit nginx")
    print("  ✓ nginx has its files", flush=True)
