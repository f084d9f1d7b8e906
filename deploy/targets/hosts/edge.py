"""How an edge leaves and returns: nginx, and keepalived, which moves the virtual addresses between the edges."""

import os
import signal
import time
from pathlib import Path

from deploy.core.console import output, run

from .system import RUN

# Seconds that requests have to finish. New connections wait as long, so it is not longer. Those of watchers are closed.
FINISH_WITHIN = 5
# Dropped, not rejected: the client repeats its first packet, and another edge answers that. Gone after a reboot.
PAUSE = """table inet pause {
    chain input {
        type filter hook input priority filter - 1
        iif != lo tcp dport { 80, 443 } ct state new drop
    }
}"""


def has_keepalived() -> bool:
    return output("systemctl", "is-enabled", "keepalived").strip() == "enabled"


def leave() -> None:
    """Finish the requests of this host's nginx, then let another edge have the virtual addresses."""
    run("nft", PAUSE)
    if (RUN / "nginx.pid").exists():
        finish_requests(int((RUN / "nginx.pid").read_text()))
    # Closes the rest of the connections while this host has their address: clients notice, and connect again.
    output("systemctl", "kill", "--signal=TERM", "nginx")
    run("systemctl", "stop", "nginx")
    if has_keepalived():
        run("systemctl", "stop", "keepalived")


def finish_requests(master: int) -> None:
    """Replace nginx's workers: the old ones close idle connections at once, and others after their response."""
    old = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    os.kill(master, signal.SIGHUP)
    deadline = time.monotonic() + FINISH_WITHIN
    while any(Path(f"/proc/{pid}").exists() for pid in old) and time.monotonic() < deadline:
        time.sleep(0.1)


def come_back() -> None:
    """Accept connections again, and the virtual addresses if no other edge has them."""
    output("nft", "delete table inet pause")
    if has_keepalived():
        run("systemctl", "start", "keepalived")
