"""`make up` on this machine: start the stack, or apply what changed, with no failed request."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from typing import IO

from deploy.core import first_data, metrics, nginx, processes, supervisor
from deploy.core.apps import APPS, INSTANCES, App
from deploy.core.console import Failed, step, table
from deploy.core.fingerprint import fingerprint
from deploy.core.preflight import ENVIRONMENT
from deploy.core.probe import why_not_served
from deploy.core.settings import VAR, of_app, one_at_a_time, quote, read_file, replace
from deploy.docker.reload import LOOK, files

from .target import LOG, RUN, NativeTarget, run_python, wait_until

APPLIED = VAR / "applied.json"
# A change of these needs a new supervisord. A change of an app's own program file rolls the app.
SUPERVISORD = ["deploy/supervisor/supervisord.conf", "deploy/supervisor/nginx.conf", "deploy/supervisor/nginx.sh"]


def up(target: NativeTarget) -> None:
    """Start the stack, or bring the running one to the state of the files and settings here.

    A stack that did not run, and cannot start, is stopped again.
    """
    started = time.monotonic()
    for directory in (RUN, LOG, *(VAR / name for name in ("tmp", "supervisor", "static", "media"))):
        directory.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o700)
    was_running = target.is_running()
    try:
        changed = bring_up(target, was_running)
    except BaseException as error:
        if not was_running and any(target.all_processes()):
            print("\nStopping what was started …", flush=True)
            target.shut_down()
        raise error from None
    if not changed:
        print("Already up to date.")
    print()
    show_addresses(target)
    seconds = time.monotonic() - started
    print(f"\n  {address(target.variables)}  up in {seconds:.1f} s. `make status`, `make logs`, `make down`.")


def bring_up(target: NativeTarget, was_running: bool) -> set[str]:
    """Start the stack, or apply what changed. Return what was touched when visitors are served."""
    wanted = fingerprints(target)
    applied = read_applied() if was_running else {}
    changed = {name for name in wanted if applied.get(name) != wanted[name]}
    before = read_file(ENVIRONMENT) if was_running else {}
    if before and address(before) != address(target.variables):
        print(f"The address changes from {address(before)} to {address(target.variables)}", flush=True)
    prepare(target, changed)
    # supervisord's services read it at each start.
    replace(ENVIRONMENT, "".join(f"{name}={quote(value)}\n" for name, value in target.variables.items()))
    renewed = renew_tmp()
    if was_running and "supervisor" in changed:
        with step("supervisord has a new configuration: stopping"):
            target.shut_down()
        was_running = False
    if was_running:
        changed |= apply_changes(target, changed, renewed)
    else:
        start(target)
    for service in target.services:
        shown = service in changed or not was_running
        with step(f"{service} ready") if shown else contextlib.nullcontext():
            target.wait_until_ready(service)
    wait_until_served(target)
    replace(APPLIED, json.dumps(wanted))
    metrics.write_prometheus_configuration(VAR, target.variables)
    return changed


def wait_until_served(target: NativeTarget) -> None:
    """Return when a visitor gets a page of each app through nginx's own port. Raises Failed after ten seconds."""
    host, _, port = target.variables["LISTEN"].rpartition(":")
    why = partial(why_not_served, host.strip("[]"), port, target.variables)
    wait_until(lambda: not why(), why)


def renew_tmp() -> bool:
    """Replace nginx's temporary directory if another user owns a part of it. Return whether it was so.

    `nginx -t` as root gives these directories to nginx's default user, and every upload fails.
    """
    tmp = VAR / "tmp"
    if all(path.lstat().st_uid == os.geteuid() for path in tmp.iterdir()):
        return False
    aside = VAR / f"tmp.{time.time_ns()}"
    tmp.rename(aside)
    tmp.mkdir()
    shutil.rmtree(aside, ignore_errors=True)
    return True


def fingerprints(target: NativeTarget) -> dict[str, str]:
    """Return a digest for each app, and for supervisord, of the files and settings that it runs with."""
    found = {"supervisor": fingerprint(SUPERVISORD)}
    for app in APPS.values():
        files = [*app.source, "deploy/core", "deploy/servers", f"deploy/supervisor/{app.server.kind}.conf", "uv.lock"]
        runs = {"application": app.application, "command": " ".join(app.command)}
        found[app.name] = fingerprint(files, of_app(app, target.variables) | runs)
    if "metrics" in target.services:
        found["metrics"] = fingerprint(["deploy/core", "deploy/servers", "deploy/apps.toml"], target.variables)
    return found


def read_applied() -> dict[str, str]:
    """Return the fingerprints of what the last `make up` applied."""
    try:
        applied: dict[str, str] = json.loads(APPLIED.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return applied


def prepare(target: NativeTarget, changed: set[str]) -> None:
    """Run what each changed app needs before its instances start. Print what the first data has to say."""
    for app in APPS.values():
        if app.name not in changed or not (app.prepare or app.seed):
            continue
        print(app.name.capitalize(), flush=True)
        variables = target.variables | {"APP": app.name, "INSTANCE": app.instances[0].name}
        for what, command in app.prepare.items():
            with step(what):
                run_python(variables, *command.split())
        if app.seed:
            # At once: what follows may fail.
            first_data.show(partial(seed, app, variables))


def seed(app: App, variables: Mapping[str, str], file: IO[str]) -> None:
    with step("first data and accounts"):
        run_python(variables, *app.seed.split(), stdout=file, stderr=subprocess.PIPE)


def start(target: NativeTarget) -> None:
    print("Services", flush=True)
    target.shut_down()
    RUN.mkdir(mode=0o700, exist_ok=True)
    nginx.configure(VAR, target.workers, target.variables)
    for instance in INSTANCES.values():
        target.put_in_rotation(instance)
    with step("supervisord"):
        target.start_supervisord()


def apply_changes(target: NativeTarget, changed: set[str], renewed: bool) -> set[str]:
    """Roll what changed or does not serve, then reload nginx. Return what was touched."""
    supervisor.write_programs(VAR, target.services)
    if "metrics" in changed:
        supervisor.restart(target.supervisor, "metrics")
    # Restart services that supervisord gave up, or that were stopped by hand.
    infos = target.processes().items()
    touched = {service for service, info in infos if info["statename"] not in ("RUNNING", "STARTING")}
    for service in touched:
        supervisor.restart(target.supervisor, service)
    if "nginx" not in touched and (why := target.why_not_ready("nginx")):
        touched.add("nginx")
        with step(f"nginx: {why}: restarting"):
            target.restart_nginx()
    for app in APPS.values():
        out = [each for each in app.instances if each.name not in touched and not target.is_serving(each)]
        out += [each for each in app.instances if each not in out and not target.is_in_rotation(each)]
        if app.name in changed or out:
            why = "its code or settings changed"
            if app.name not in changed:
                why = f"{out[0]} {'does not answer' if target.is_in_rotation(out[0]) else 'is out of rotation'}"
            print(f"Roll {app.name}: {why}", flush=True)
            # If this roll fails, the next `make up` rolls the app again, even if the edit is taken back.
            replace(APPLIED, json.dumps({name: each for name, each in read_applied().items() if name != app.name}))
            target.roll(app, app.instances if app.name in changed else out)
            touched |= {app.name, *(instance.name for instance in app.instances)}
    if nginx.configure(VAR, target.workers, target.variables) or renewed:
        touched.add("nginx")
        with step(f"nginx has a new {'temporary directory' if renewed else 'configuration'}: reloading"):
            target.reload_nginx()
    return touched.union(supervisor.remove_unregistered(VAR))


def roll_on_save(target: NativeTarget) -> None:
    """Roll each app whose files change. If it fails, the instances that still serve keep the code before."""
    sources = {app: [f"{source}/**/*" for source in app.source] for app in APPS.values()}
    before = {app: files(patterns) for app, patterns in sources.items()}
    while True:
        time.sleep(LOOK)
        for app, patterns in sources.items():
            now = files(patterns)
            saved = sorted({file for file, _ in now ^ before[app] if "__pycache__" not in file.parts})
            before[app] = now
            if not saved:
                continue
            print("Saved:", *saved, flush=True)
            try:
                with one_at_a_time():
                    # Code and templates need no preparation. Migrations and static files do.
                    if any(file.suffix not in (".py", ".html") or "migrations" in file.parts for file in saved):
                        prepare(target, {app.name})
                    target.roll(app, app.instances)
            except Failed as failed:
                print(f"✗ {failed}", flush=True)


def address(variables: Mapping[str, str]) -> str:
    return f"{'https' if variables['TLS'] == 'on' else 'http'}://{variables['LISTEN']}/"


def show_addresses(target: NativeTarget) -> None:
    rows = [("", "workers", "address")]
    for service, info in target.processes().items():
        instance = INSTANCES.get(service)
        sockets = instance.sockets(target.workers) if instance else []
        where = f"{RUN.relative_to(VAR.parent)}/{'.sock, '.join(sockets)}.sock" if sockets else ""
        # A command is its own worker.
        workers = len(processes.workers(info["pid"])) or 1
        own = {"nginx": address(target.variables), "metrics": metrics.address(target.variables)}
        rows.append((f"  {service}", str(workers), where if instance else own[service]))
    table(rows)
