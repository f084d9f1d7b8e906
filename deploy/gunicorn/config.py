"""gunicorn's configuration for an instance of any gunicorn app. INSTANCE says which one; all targets use this file."""

import fcntl
from pathlib import Path
from typing import Any

from deploy.core import apps
from deploy.core.cores import cores
from tornado_api import metrics, settings, traces
from tornado_api.log import LOGGING
from tornado_api.worker import assign_slot

instance = apps.find(settings.INSTANCE)

wsgi_app = instance.app.application
worker_class = "tornado_api.worker.Worker"
# Two instances make two processes per core.
workers = cores()
proc_name = instance.name
logconfig_dict = LOGGING

# The master does not listen: each worker has its own socket (pre_fork). On one shared socket the kernel distributes
# long connections unevenly: 261/69/37/33 of 400. With four sockets, nginx gives each 100.
bind: list[str] = []
# Seconds before an idle connection is closed. nginx closes it earlier (http.conf), so that it never sends a request
# on a connection that is being closed.
keepalive = 10

# In seconds: a request ends within 20 (tornado_api/limits.py), a worker whose event loop is blocked for 20 is killed, a
# draining worker has 25, and supervisord waits 30.
timeout = 20
graceful_timeout = 25
# Workers are replaced before a memory leak matters, at random counts so that they do not all restart together.
max_requests = 100_000
max_requests_jitter = 20_000

# Since 25.1, gunicorn opens this socket by default, at one path in the home directory for all instances.
control_socket_disable = True
# The directory of the heartbeat file. On a disk, a slow write would look like a blocked worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def on_starting(arbiter: Any) -> None:
    """Wait while another gunicorn runs as this instance, for example in the container that this one replaces.

    Two would both listen on the same paths, and the first to stop would remove the other's sockets.
    """
    # Only this process holds the lock. Its workers do not inherit it, because they may drain longer than the master
    # lives.
    arbiter.lock = (settings.VAR_DIR / f"run/{instance.name}.lock").open("w")
    fcntl.lockf(arbiter.lock, fcntl.LOCK_EX)


def pre_fork(arbiter: Any, worker: Any) -> None:
    assign_slot(arbiter, worker)
    if settings.BIND:
        worker.address = settings.BIND, instance.port(worker.slot)
    else:
        worker.address = settings.VAR_DIR / f"run/{instance.name}-{worker.slot}.sock"


def post_fork(arbiter: Any, worker: Any) -> None:
    metrics.keep(settings.VAR_DIR / "run/metrics", instance.app.name, instance.name)
    traces.start(settings.OTEL_EXPORTER_OTLP_ENDPOINT, instance.app.name, instance.name)
