"""Commands on one host, as root, in a release's directory: `.venv/bin/python -m deploy.targets.hosts.host COMMAND …`.

deploy/ansible lays out the host (system.py). A host with only nginx has no Python packages; there python3 runs it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

from deploy.core import console, maintenance_mode
from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import Failed, ok, output
from deploy.core.roll import wait_until
from deploy.core.settings import one_at_a_time
from deploy.servers.base import read

from . import edge
from .releases import APP_USER, PYTHON, as_app, check, discard, identity, prepare, prune, schema, switch
from .system import LOCK, RELEASES, ROOT, VAR, current, groups, instances_here, read_environment
from .target import HostTarget, programs_here, unit_of, write_programs


def roll(name: str, *names: str) -> None:
    """Make a release current, and roll what does not run it yet: instances of apps, or nginx for `edge`."""
    with one_at_a_time(LOCK):
        if said := switch(name):
            ok(said)
        roll_here(names, every=False)
        if "edge" in names:
            target = HostTarget()
            wait_until(
                lambda: not target.why_not_served(), lambda: f"visitors are not served: {target.why_not_served()}"
            )
            ok("visitors are served")


def restart(*names: str) -> None:
    """Roll all instances of apps, or make nginx read its files."""
    with one_at_a_time(LOCK):
        roll_here(names, every=True)


def roll_here(names: tuple[str, ...], every: bool) -> None:
    if programs_here():
        as_app(current(), PYTHON, "-m", "deploy.targets.hosts.host", "write-programs")
    target = HostTarget()
    for name in names:
        if app := APPS.get(name):
            target.roll(app, [each for each in app.instances if every or not target.is_up_to_date(each)])
        else:
            target.replace_nginx()


def maintenance(state: str, key: str = "") -> str:
    """Begin maintenance on this host's nginx (`on`) or end it (`off`). Return the key for staff."""
    with one_at_a_time(LOCK):
        return maintenance_mode.switch(VAR, state, key)


def drain() -> str:
    """Stop nginx and the instances of this host when they hold no request. A reboot or a deploy starts them."""
    nginx = ["nginx"] if "edge" in groups() else []
    with one_at_a_time(LOCK):
        if nginx:
            edge.leave()
        target = HostTarget()
        for instance in instances_here():
            target.take_out_of_rotation(instance)
        for instance in instances_here():
            target.wait_until_idle(instance)
        stop_instances()
        for instance in instances_here():
            target.put_in_rotation(instance)
    return f"{' '.join([*nginx, *map(str, instances_here())])} stopped"


def down() -> str:
    """Stop nginx and all instances of this host. A reboot or a deploy starts them."""
    nginx = ["nginx"] if "edge" in groups() else []
    with one_at_a_time(LOCK):
        for service in nginx:
            console.run("systemctl", "stop", service)
        stop_instances()
    return f"{' '.join([*nginx, *map(str, instances_here())])} stopped"


def stop_instances() -> None:
    if units := {unit_of(instance).unit for instance in instances_here()}:
        console.run("systemctl", "stop", *sorted(units))


def status() -> str:
    """Return JSON: release, services (name: "ready" or why not), failed (units), disk (0 to 1), security updates."""
    disk = shutil.disk_usage(ROOT)
    failed = [line.split()[0] for line in output("systemctl", "--failed", "--plain", "--no-legend").splitlines()]
    found = {"release": current(), "services": services(), "failed": failed, "disk": disk.used / disk.total}
    pending = output("apt-get", "--simulate", "--quiet=2", "upgrade").splitlines()
    found["updates"] = sum(line.startswith("Inst ") and "security" in line.lower() for line in pending)
    return json.dumps(found)


def services() -> dict[str, str]:
    target = HostTarget()
    found = {}
    for instance in instances_here():
        release = target.release(instance)
        notes = [target.why_not_ready(instance.name) or "ready"] if release else ["stopped"]
        notes += [] if target.is_in_rotation(instance) else ["out of rotation"]
        notes += [f"runs {release}"] if release not in ("", current()) else []
        found[instance.name] = ", ".join(notes)
    if "edge" in groups():
        found["nginx"] = target.why_not_ready("nginx") or ("maintenance" if maintenance_mode.key_of(VAR) else "ready")
        if edge.has_keepalived():
            state = output("systemctl", "show", "--property=ActiveState", "--value", "keepalived").strip()
            found["keepalived"] = "ready" if state == "active" else state
    return found


def rows() -> str:
    """Return the rows of the stack page as JSON (deploy/watch.py). Raises Failed."""
    status, body = read(VAR / "run/stack.sock", "/_stack/rows")
    if status != 200:
        raise Failed("The collector of metrics does not answer: `settings: {METRICS_PORT: 9145}`, provision and deploy")
    return body.decode()


def logs(wanted: str = "") -> None:
    """Follow the logs of an app, an instance, nginx or `access`; of all of these without a name."""
    found = {instance.name: [*unit_of(instance).log_command(20), "--follow"] for instance in instances_here()}
    if "edge" in groups():
        found["nginx"] = ["journalctl", "--unit", "nginx", "--lines=20", "--output=cat", "--follow"]
        found["access"] = ["tail", "--lines=20", "--follow=name", "--retry", str(VAR / "log/access.log")]
    apps = {name: INSTANCES[name].app.name for name in found if name in INSTANCES}
    console.follow({name: command for name, command in found.items() if wanted in ("", name, apps.get(name, ""))})


def manage(name: str, *arguments: str) -> None:
    """Run Django's manage.py of a release at the terminal of this process."""
    app = django()
    assert app, "no app in deploy/apps.toml has a manage.py"
    words = [PYTHON, app.manage, *arguments]
    environment = os.environ | identity(app)
    done = subprocess.run(words, cwd=RELEASES / name, env=environment, check=False, **APP_USER)
    sys.exit(done.returncode)


COMMANDS: tuple[Callable[..., str | None], ...] = (
    *(check, discard, prepare, prune, schema, switch),
    *(down, drain, logs, maintenance, manage, restart, roll, rows, status, write_programs),
)


def main(command: str, *words: str) -> None:
    # Root makes files for nginx and the apps. The umask of its session may be another (pam_umask).
    os.umask(0o022)
    read_environment()
    try:
        by_name = {each.__name__.replace("_", "-"): each for each in COMMANDS}
        if said := by_name[command](*words):
            print(said)
    except Failed as failed:
        raise SystemExit(str(failed)) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
