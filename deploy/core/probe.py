"""Readiness and rotation as a command, for containers: `python3 -m deploy.core.probe ready site-a`.

It runs beside the sockets: as the health check in an instance's own container, and in nginx's container for a roll
that is steered from outside. Standard library only.
"""

import os
import sys
from pathlib import Path

from deploy.core.apps import find
from deploy.core.cores import cores
from deploy.core.rotation import is_in_rotation, put_in_rotation, take_out_of_rotation
from deploy.servers.base import get


def why_nginx_not_ready(run: Path) -> str:
    """Return why nginx is not ready; empty if it is."""
    return "" if get(run / "nginx.sock", "/")[0] else "it does not answer"


def why_not_ready(run: Path, service: str, workers: int) -> str:
    """Return why nginx or an instance is not ready; empty if it is."""
    if service == "nginx":
        return why_nginx_not_ready(run)
    instance = find(service)
    address = os.environ.get("BIND")
    bind = (address, instance.port()) if address else None
    return instance.server.why_not_ready(run, service, workers, bind)


def main(command: str, service: str) -> None:
    """`ready` prints the reason and exits with 1 if the service is not ready; `in?` exits with 1 if out of rotation."""
    run = Path(os.environ["VAR_DIR"]) / "run"
    if command == "ready":
        sys.exit(why_not_ready(run, service, cores()) or None)
    elif command == "in?":
        sys.exit(not is_in_rotation(run, service))
    elif command == "out":
        take_out_of_rotation(run, service)
    elif command == "in":
        put_in_rotation(run, service)
    elif command == "idle":
        find(service).server.wait_until_idle(run, service)
    else:
        sys.exit(f"{command!r} should be one of ready, out, idle, in, in?")


if __name__ == "__main__":
    main(*sys.argv[1:])
