"""Checks of the kernel's limits: open files, and the length of listen queues."""

import re
import resource
from pathlib import Path

from deploy.core.settings import PROJECT

from .findings import Findings, right, wrong
from .stacks import NativeStack

# nginx's own listen queue on Linux, where its files set none (https://nginx.org/en/docs/http/ngx_http_core_module.html).
NGINX_LISTEN = 511
# By the kind of server: `max-fd` and `listen` in deploy/uwsgi/*.ini. gunicorn's worker raises its limit to twice the
# watchers that it may hold (MAX_WATCHERS).
OPEN_FILES = {"uwsgi": 4096, "gunicorn": 12000}
LISTEN_QUEUES = {"uwsgi": 1024}


def needed_files(stack: NativeStack) -> dict[str, int]:
    """Return how many open files each worker needs, by the name of its program."""
    kinds = {instance.server.kind for instance in stack.instances}
    found = {kind: need for kind, need in OPEN_FILES.items() if kind in kinds}
    if "nginx" in stack.services:
        [limit] = re.findall(r"^worker_rlimit_nofile (\d+);", (PROJECT / "nginx/nginx.conf").read_text(), re.M)
        found["nginx"] = int(limit)
    return found


def open_files_here(stack: NativeStack) -> Findings:
    """The limit of this shell, which everything that it starts inherits."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    program, need = max(needed_files(stack).items(), key=lambda item: item[1])
    said = f"open files: this shell may have {most}, {program} needs {need}"
    if most == resource.RLIM_INFINITY or most >= need:
        yield right(said)
    else:
        limits = f"echo '* - nofile {need}' | sudo tee /etc/security/limits.d/stack.conf"
        yield wrong(said, f"{limits}; then log in again, and `make down up`")


def open_files(stack: NativeStack) -> Findings:
    """The limits that the running workers have."""
    if not stack.is_running:
        return
    processes = list(stack.processes())
    names = {pid: name for pid, _, name in processes}
    for program, need in needed_files(stack).items():
        # A master does not raise its own limit.
        workers = [pid for pid, parent, name in processes if name == program == names.get(parent)]
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid in workers]
        allowed = [re.findall(r"^Max open files +(\S+)", limit, re.M)[0] for limit in limits]
        low = [int(each) for each in allowed if each != "unlimited" and int(each) < need]
        if low:
            said = f"open files: {program}'s workers may have {min(low)}, each needs {need}"
            yield wrong(said, "make down up, from a shell that may open as many: ulimit -Hn")
        elif workers:
            yield right(f"open files: {program}'s workers may have the {need} that each needs")


def somaxconn(stack: NativeStack) -> Findings:
    """The kernel shortens a longer listen queue without a word. uWSGI then refuses to start."""
    queues = {"nginx": ("nginx", NGINX_LISTEN)} if "nginx" in stack.services else {}
    for instance in stack.instances:
        if need := LISTEN_QUEUES.get(instance.server.kind):
            queues.setdefault(instance.server.kind, (instance.name, need))
    for program, (service, need) in queues.items():
        allowed = stack.somaxconn(service)
        said = f"net.core.somaxconn: {allowed}, {program} needs {need}"
        if allowed >= need:
            yield right(said)
        else:
            effect = "it drops connections in a burst" if program == "nginx" else "it refuses to start"
            fix = "echo net.core.somaxconn=4096 | sudo tee /etc/sysctl.d/60-stack.conf && sudo sysctl --system"
            yield wrong(f"{said}: {effect}", fix)
