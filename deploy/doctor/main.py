"""Find what is wrong with a stack and print the command that fixes it: `make doctor`. It changes nothing.

Third-party packages may be missing, so a check that needs one imports it itself.
"""

import argparse

from . import files, limits, machine, servers
from .findings import Check, look, show

STACK: tuple[Check, ...] = (
    files.ownership,
    files.permissions,
    files.leftovers,
    files.settings,
    files.secrets,
    files.certificate,
    servers.data,
    servers.migrations,
    servers.services,
    servers.front_door,
)
NATIVE: tuple[Check, ...] = (
    machine.python,
    machine.nginx,
    machine.packages,
    machine.clock,
    machine.disk,
    machine.port,
    limits.open_files_here,
    limits.open_files,
    limits.somaxconn,
    files.foreign_files,
    *STACK,
)
# deploy/docker/common.yml limits open files, and a new container has no leftovers. The database has this clock.
COMPOSE: tuple[Check, ...] = (
    machine.engine,
    machine.clock,
    machine.disk,
    machine.port,
    limits.somaxconn,
    *(check for check in STACK if check not in (files.leftovers, servers.data)),
)
# The units set the limit of open files. `make provision` checks the settings and writes them.
HOST: tuple[Check, ...] = (
    machine.python,
    machine.nginx,
    machine.packages,
    machine.failed_units,
    machine.clock,
    machine.disk,
    machine.port,
    limits.open_files,
    limits.somaxconn,
    *(check for check in STACK if check is not files.settings),
)


def main(options: argparse.Namespace) -> None:
    """Examine a target. Raises SystemExit with status 1, or Failed, if a check failed."""
    if options.target == "hosts":
        from deploy.targets.hosts.fleet import Fleet

        from .fleet import examine_fleet

        return examine_fleet(Fleet(options.inventory))
    from .stacks import ComposeStack, NativeStack

    stack, checks = (ComposeStack(), COMPOSE) if options.target == "compose" else (NativeStack(), NATIVE)
    print(f"Doctor: {options.target}, {stack.var}", flush=True)
    raise SystemExit(1 if show(look(checks, stack)) else 0)
