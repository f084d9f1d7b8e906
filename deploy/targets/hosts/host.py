"""Commands on one host, as root, in a release's directory: `.venv/bin/python -m deploy.targets.hosts.host COMMAND …`.

deploy/ansible lays out the host (system.py). A host with only nginx has no Python packages; there python3 runs it.
"""

import json
import shutil
import sys
from collections.abc import Callable

from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import Failed

from .checks import check
from .logs import follow
from .releases import PYTHON, as_app, current, discard, manage_at_terminal, prepare, prune, releases, schema, switch
from .system import ROOT, VAR, groups, instances_here, one_roll_at_a_time, output, read_environment, run
from .target import HostTarget, apply_nginx, why_nginx_not_ready
from .units import programs_here, unit_of, write_programs


def roll(name: str, *apps: str) -> None:
    """Make a release current, and roll what does not run it yet: instances of these apps, or nginx for `edge`."""
    with one_roll_at_a_time():
        if said := switch(name):
            print(f"  ✓ {said}", flush=True)
        roll_here(apps, every=False)


def restart(*apps: str) -> None:
    """Roll all instances of apps, or make nginx read its files."""
    with one_roll_at_a_time():
        roll_here(apps, every=True)


def roll_here(names: tuple[str, ...], every: bool) -> None:
    if programs_here():
        as_app(current(), PYTHON, "-m", "deploy.targets.hosts.host", "write-programs")
    for name in names:
        if name in APPS:
            HostTarget().roll(APPS[name], every)
        else:
            apply_nginx()


def drain() -> str:
    """Stop the instances of this host when they hold no request. A reboot or a deploy starts them."""
    with one_roll_at_a_time():
        target = HostTarget()
        for instance in instances_here():
            target.take_out_of_rotation(instance)
        for instance in instances_here():
            target.wait_until_idle(instance)
        stop_instances()
        for instance in instances_here():
            target.put_in_rotation(instance)
    return f"{' '.join(map(str, instances_here()))} stopped"


def down() -> str:
    """Stop nginx and all instances of this host. A reboot or a deploy starts them."""
    with one_roll_at_a_time():
        if "edge" in groups():
            run("systemctl", "stop", "nginx")
        stop_instances()
    return f"{' '.join([*(['nginx'] if 'edge' in groups() else []), *map(str, instances_here())])} stopped"


def stop_instances() -> None:
    if units := {unit_of(instance).unit for instance in instances_here()}:
        run("systemctl", "stop", *sorted(units))


def status() -> str:
    """Return JSON: release, releases (names), services (name: "ready" or why not), failed (units), disk (0 to 1)."""
    disk = shutil.disk_usage(ROOT)
    found = {
        "release": current(),
        "releases": [manifest["name"] for manifest in releases()],
        "services": services(),
        "failed": [line.split()[0] for line in output("systemctl", "--failed", "--plain", "--no-legend").splitlines()],
        "disk": disk.used / disk.total,
    }
    return json.dumps(found)


def services() -> dict[str, str]:
    found = {}
    for instance in instances_here():
        target = HostTarget()
        release = target.release(instance)
        notes = [target.why_not_ready(instance) or "ready"] if release else ["stopped"]
        notes += [] if target.is_in_rotation(instance) else ["out of rotation"]
        notes += [f"runs {release}"] if release not in ("", current()) else []
        found[instance.name] = ", ".join(notes)
    if "edge" in groups():
        found["nginx"] = why_nginx_not_ready() or "ready"
    return found


def follow_logs(wanted: str = "") -> None:
    """Follow the logs of an app, an instance, nginx or `access`; of all of these without a name."""
    found = {instance.name: [*unit_of(instance).log_command(), "--follow"] for instance in instances_here()}
    if "edge" in groups():
        found["nginx"] = ["journalctl", "--unit", "nginx", "--lines=20", "--output=cat", "--follow"]
        found["access"] = ["tail", "--lines=20", "--follow=name", "--retry", str(VAR / "log/access.log")]
    apps = {name: INSTANCES[name].app.name for name in found if name in INSTANCES}
    follow({name: command for name, command in found.items() if wanted in ("", name, apps.get(name, ""))})


def manage(name: str, *arguments: str) -> None:
    app = django()
    assert app, "no app in deploy/apps.toml has a manage.py"
    manage_at_terminal(name, app, *arguments)


def examine() -> str:
    """Return the findings of `make doctor` on this host, as JSON."""
    from deploy.doctor import examine_host

    return str(examine_host(groups()))


COMMANDS: dict[str, Callable[..., str | None]] = {
    "check": check,
    "discard": discard,
    "doctor": examine,
    "down": down,
    "drain": drain,
    "logs": follow_logs,
    "manage": manage,
    "prepare": lambda name, app: prepare(name, APPS[app]),
    "prune": prune,
    "restart": restart,
    "roll": roll,
    "schema": lambda name, app: schema(name, APPS[app]),
    "status": status,
    "switch": switch,
    "write-programs": write_programs,
}


def main(command: str, *words: str) -> None:
    read_environment()
    try:
        if said := COMMANDS[command](*words):
            print(said)
    except Failed as failed:
        raise SystemExit(str(failed)) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
