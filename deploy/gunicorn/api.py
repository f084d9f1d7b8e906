"""gunicorn for one instance of the api. Every deployment runs this file, with the settings in its environment."""

import fcntl
from pathlib import Path
from typing import Any

from deploy.cores import cores
from tornado_api import settings
from tornado_api.log import LOGGING
from tornado_api.worker import assign_slot

wsgi_app = "tornado_api.app:make()"
worker_class = "tornado_api.worker.Worker"
# Two instances of one worker per core: two processes per core.
workers = cores()
proc_name = f"api-{settings.INSTANCE}"
logconfig_dict = LOGGING

# The master listens to nothing: each worker has a socket of its own, at API_BIND. On one shared socket the kernel gives
# workers uneven shares of long connections: 261/69/37/33 of 400. nginx gives each of four sockets 100.
bind: list[str] = []
pre_fork = assign_slot
# Seconds after which an idle connection is closed: later than nginx does (upstreams.conf), or a request could be on its
# way when it happens.
keepalive = 10

# The ladder, in seconds: a request ends within 20, a worker whose loop is blocked for as long is killed, a worker that
# stops has 25, supervisord waits 30.
timeout = 20
graceful_timeout = 25
# Workers are recycled before a leak matters; spread, so that it is not all at once.
max_requests = 100_000
max_requests_jitter = 20_000

# On by default since 25.1, at one path in the home directory for all instances.
control_socket_disable = True
# Where its heartbeat file is: on a disk, a slow write would look like a blocked worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def on_starting(arbiter: Any) -> None:
    """Waits while another gunicorn is this instance: in the container that this one's takes over from, say.

    Two on the same sockets would both run, and the first to stop would take the other's away.
    """
    # A lock of this process alone: workers that drain for longer than it lives do not have it.
    arbiter.lock = (settings.VAR_DIR / f"run/{proc_name}.lock").open("w")
    fcntl.lockf(arbiter.lock, fcntl.LOCK_EX)
