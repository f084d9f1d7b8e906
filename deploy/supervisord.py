"""Instances that supervisord runs, by its XML-RPC (http://supervisord.org/api.html)."""

import contextlib
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy


def connect(var: Path) -> Any:
    """To the one whose run-time files are in `var`. To be made anew each time: one that failed stays broken."""
    # Who only asks for a name may have no packages.
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{var}/supervisor/supervisord.sock")
    return ServerProxy("http://supervisord", transport=transport).supervisor


def answers(var: Path) -> bool:
    try:
        return bool(connect(var).getState())
    except (OSError, HTTPException):
        return False


def program(part: str) -> str:
    """What it calls it: `tandem-nginx`, `tandem-site:a`."""
    return f"tandem-{part.replace('-', ':')}"


def restart(supervisor: Any, instance: str) -> None:
    with contextlib.suppress(Fault):  # it was not running
        supervisor.stopProcess(program(instance))
    supervisor.startProcess(program(instance), False)


def cannot_stay_up(supervisor: Any, instance: str) -> bool:
    # Not STOPPED, which it is for a moment before it starts.
    return supervisor.getProcessInfo(program(instance))["statename"] in ("BACKOFF", "EXITED", "FATAL")
