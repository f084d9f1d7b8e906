"""`make up` in containers: start the stack, or apply what changed, with no failed request."""

from functools import partial
from typing import IO, Any

from deploy.core import first_data
from deploy.core.apps import APPS, App
from deploy.core.console import Failed, step

from . import generate
from .target import STOPPED, ComposeTarget


def up(target: ComposeTarget) -> None:
    """Start what does not run, roll what is outdated or does not answer, and give nginx its new configuration."""
    target.hand_over_volumes()
    target.unpause()
    containers = target.containers()
    reasons = {service: target.why_outdated(containers.get(service)) for service in target.hashes}
    outdated = {service: why for service, why in reasons.items() if why}
    if services := [service for service in target.core_services if service in outdated]:
        with step(", ".join(services)):
            target.start(*services, wait=True)
    prepare(target, outdated)
    if "nginx" in outdated:
        nginx = containers.get("nginx")
        # A replacement leaves the port without nginx for a second.
        with step(f"nginx: {outdated['nginx']}"):
            if nginx and nginx["State"]["Running"]:
                target.compose("run", "--rm", "--no-deps", "-T", "nginx", "python3", "-m", "deploy.core.nginx", "check")
            target.start("nginx")
            target.wait_until_ready("nginx")
    started = start_apps(target)
    rolled = roll_apps(target, [app for app in APPS.values() if app not in started], outdated)
    reloaded = reload_nginx(target)
    # nginx sends them nothing any more.
    removed = target.remove_unregistered()
    generate.remove_old_secrets()
    if not (outdated or rolled or reloaded or removed):
        print("Already up to date.")


def prepare(target: ComposeTarget, outdated: dict[str, str]) -> None:
    """Run what a release of each changed app needs once, in a container with its new image."""
    for app in APPS.values():
        changed = any(outdated.get(instance.name, STOPPED) != STOPPED for instance in app.instances)
        if changed and (app.prepare or app.seed):
            commands = [f"python {command} >&2" for command in app.prepare.values()]
            commands += [f"python {app.seed}"] if app.seed else []
            run = ("run", "--rm", "--no-deps", "-T", app.instances[0].name, "sh", "-ec", "\n".join(commands))
            # At once: what follows may fail.
            first_data.show(partial(run_once, target, app, run))


def run_once(target: ComposeTarget, app: App, words: tuple[str, ...], file: IO[Any]) -> None:
    with step(f"{app.name}: {', '.join(app.prepare)}"):
        target.compose(*words, stdout=file)


def start_apps(target: ComposeTarget) -> list[App]:
    """Start the apps that have no running instance, all at once. Return them."""
    running = {name for name, container in target.containers().items() if container["State"]["Running"]}
    stopped = [app for app in APPS.values() if not any(each.name in running for each in app.instances)]
    instances = [instance for app in stopped for instance in app.instances]
    if instances:
        with step(", ".join(app.name for app in stopped)):
            target.start(*(instance.name for instance in instances))
        for instance in instances:
            with step(f"{instance} ready"):
                target.wait_until_ready(instance.name)
                target.put_in_rotation(instance)
    return stopped


def roll_apps(target: ComposeTarget, apps: list[App], outdated: dict[str, str]) -> bool:
    """Roll instances that are outdated, new, stopped or out of rotation. Return whether there were any."""
    reasons, in_rotation = target.look()
    unready = {name for name, reason in reasons.items() if reason}
    serving = in_rotation - outdated.keys() - unready
    rolled = False
    for app in apps:
        if instances := [instance for instance in app.instances if instance.name not in serving]:
            rolled = True
            first = instances[0].name
            why = outdated.get(first, "it does not answer" if first in unready else "it is out of rotation")
            print(f"Roll {app.name}: {instances[0]}: {why}", flush=True)
            target.roll(app, instances)
    return rolled


def reload_nginx(target: ComposeTarget) -> bool:
    """Reload nginx if its files or settings changed. Return whether they did."""
    done = target.run_in("nginx", "python3", "-m", "deploy.core.nginx", "reload")
    if done.returncode:
        raise Failed(done.stdout)
    if done.stdout.strip():
        print("  · nginx has a new configuration: reloaded", flush=True)
    return bool(done.stdout.strip())
