"""The commands of this target. Each prints a plan first and a result at the end."""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import yaml

from deploy.core import maintenance_mode
from deploy.core.apps import APPS, INSTANCES, PROJECT, django
from deploy.core.console import Failed, follow, split, step, table
from deploy.core.settings import HOST_SECRETS, SECRETS

from . import cluster, move, upgrade
from .fleet import GROUPS, HOST_COMMAND, Fleet


def on_fleet(command: Callable[[Fleet, argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """Read the inventory before a command, and print the time that it took."""

    def run(options: argparse.Namespace) -> None:
        started = time.monotonic()
        with step(f"inventory {options.inventory}"):
            fleet = Fleet(options.inventory, options.batch)
        command(fleet, options)
        print(f"\nDone in {time.monotonic() - started:.0f} s.")

    return run


def plan(fleet: Fleet, what: str, *more: tuple[str, str]) -> None:
    print(f"{what} on {fleet.name}")
    for name, value in (*more, *((name, ", ".join(fleet.groups[name])) for name in GROUPS if fleet.groups[name])):
        print(f"  {name:<10}{value}")
    print(flush=True)


def secrets(options: argparse.Namespace) -> None:
    """Add the secrets that the inventory's encrypted file lacks, and the vault's password if there is none."""
    fleet = Fleet(options.inventory)
    if not fleet.password.exists() and "ANSIBLE_VAULT_PASSWORD_FILE" not in os.environ:
        fleet.password.touch(mode=0o600)
        fleet.password.write_text(token_urlsafe(32) + "\n")
        print(f"The vault's password is in {fleet.password}. Keep it private, and outside the repository.")
    file = fleet.directory / "group_vars/all/secrets.yml"
    contents = (yaml.safe_load(fleet.ansible("vault", "view", str(file))) or {}) if file.exists() else {}
    known = contents.setdefault("secrets", {})
    made = {name: make() for name, make in (SECRETS | HOST_SECRETS).items() if name not in known}
    if not made:
        print(f"{file} has all secrets already.")
        return
    known.update(made)
    file.parent.mkdir(parents=True, exist_ok=True)
    fleet.ansible("vault", "encrypt", "--output", str(file), "-", text=yaml.safe_dump(contents))
    print(f"{', '.join(made)} made in {file}, which is encrypted. Commit it.")


@on_fleet
def provision(fleet: Fleet, _: argparse.Namespace) -> None:
    plan(fleet, "Provision")
    if not fleet.play("provision"):
        raise Failed("Provisioning failed on a host. Fix the cause and run it again: it skips finished steps")


def current(fleet: Fleet, host: str) -> str:
    """Return the name of a host's release; empty before the first."""
    return fleet.ask(host, 'basename "$(readlink /srv/app/current)"')


def git(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        raise Failed(f"git {' '.join(words)}: {done.stderr.decode().strip()}")
    return done.stdout


def manifest(ref: str) -> dict[str, str]:
    """Return name (such as `20261121T164000-1a2b3c4`), ref, commit, subject, built (UTC, ISO 8601), lock (SHA-256)."""
    try:
        commit = git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    except Failed:
        raise Failed(f"REF is {ref!r}: there is no such commit") from None
    now = datetime.now(UTC)
    return {
        "name": f"{now:%Y%m%dT%H%M%S}-{commit[:7]}",
        "ref": ref,
        "commit": commit,
        "subject": git("log", "-1", "--format=%s", commit).decode().strip(),
        "built": now.isoformat(timespec="seconds"),
        "lock": hashlib.sha256(git("show", f"{commit}:uv.lock")).hexdigest(),
    }


# .gitignore lists them, but `git add --force` adds them anyway.
MADE_HERE = (".venv", "var", ".env", "RELEASE.json", "RELEASE.json.new")


def build(release: dict[str, str], directory: Path) -> Path:
    """Return the path of NAME.tar.gz: the commit's tree and RELEASE.json.new, which a host renames at the end."""
    if made := git("ls-tree", "--name-only", release["commit"], "--", *MADE_HERE).decode().split():
        raise Failed(
            f"The commit has {' and '.join(made)}, which each machine makes for itself. Take it out, and commit: "
            f"git rm -r --cached {' '.join(made)}"
        )
    archive, added = directory / f"{release['name']}.tar.gz", directory / "RELEASE.json.new"
    added.write_text(json.dumps(release, indent=2))
    git("archive", "--format=tar.gz", f"--output={archive}", f"--add-file={added}", release["commit"])
    return archive


@on_fleet
def deploy(fleet: Fleet, options: argparse.Namespace) -> None:
    ref = options.ref or "HEAD"
    made = manifest(ref)
    with fleet.lock(f"deploy of {ref}"):
        before = {host: current(fleet, host) for host in fleet.hosts}
        now = ", ".join(sorted({name for name in before.values() if name})) or "nothing"
        plan(fleet, "Deploy", ("release", made["name"]), ("ref", f"{ref}: {made['subject']}"), ("now", now))
        with tempfile.TemporaryDirectory() as directory:
            archive = build(made, Path(directory))
            deployed = fleet.play("deploy", release=made["name"], archive=str(archive), archive_directory=directory)
        if not deployed:
            go_back(fleet, before, made["name"])
    print(f"\n{made['name']} serves.")


def go_back(fleet: Fleet, before: dict[str, str], failed: str) -> None:
    """Roll every host back to the release that it had before a failed deploy. Raises Failed in any case."""
    name = next((before[host] for host in fleet.app_hosts if before[host]), "")
    if not name:
        raise Failed("The first deploy failed. Fix the cause and run it again")
    print(f"\nThe deploy failed: roll back to {name}\n", flush=True)
    # A new host has no release yet.
    if not fleet.play("rollback", [host for host in fleet.hosts if before[host]], release=name, discarded=failed):
        raise Failed(f"{failed} failed, and so did the rollback to {name}: see above, and `make fleet`")
    raise Failed(f"{failed} was not deployed: see above. Every host runs what it ran before, {name}")


@on_fleet
def rollback(fleet: Fleet, options: argparse.Namespace) -> None:
    with fleet.lock("rollback"):
        now = current(fleet, fleet.app_hosts[0])
        name = choose_release(fleet, options.release, now)
        newer, breaking = newer_migrations(fleet, name, now)
        schema = f"stays, with {', '.join(newer)}, which {name} does not have" if newer else "the same"
        plan(fleet, "Roll back", ("release", name), ("now", now), ("schema", schema))
        if breaking and options.force != "yes":
            raise Failed(
                f"{name} cannot run on a database that has {', '.join(breaking)}. Deploy a release that can, or "
                "restore a backup from before (`make restore`). FORCE=yes rolls back anyway"
            )
        if not fleet.play("rollback", release=name):
            raise Failed("The rollback failed: see above, and `make fleet`. Fix the cause and run it again")
    print(f"\n{name} serves.")


def choose_release(fleet: Fleet, name: str, now: str) -> str:
    """Return the release of this name, or else the one that was current before `now`, on the first host with an app.

    The host remembers what was current. After deploys of an older version it knows only when each release was made.
    """
    host = fleet.app_hosts[0]
    found = fleet.ask(host, "cd /srv/app/releases && ls -tcr */RELEASE.json || true").split()
    names = [each.partition("/")[0] for each in found]
    if name and name not in names:
        raise Failed(f"RELEASE is {name!r}: {host} has {', '.join(names) or 'none'}")
    known = fleet.ask(host, "cat /srv/app/history 2>/dev/null || true").split() or names
    before = known[: known.index(now)] if now in known else []
    previous = [each for each in before if each in names]
    if not name and not previous:
        raise Failed(
            f"{host} has no release from before {now or 'the first'}. RELEASE=… chooses one of {', '.join(names)}"
        )
    return name or previous[-1]


def newer_migrations(fleet: Fleet, name: str, now: str) -> tuple[list[str], list[str]]:
    """Return the database's migrations that a release does not have, and those of them that it cannot run with."""
    app = django()
    if not app:
        return [], []
    ask = f"{HOST_COMMAND} schema"
    theirs, ours = (json.loads(fleet.ask(fleet.first(app), f"{ask} {each} {app.name}")) for each in (name, now))
    newer = [each for each in theirs["applied"] if each not in theirs["known"]]
    # Nothing says whether a migration that the current release does not have either can be shared.
    return newer, [each for each in newer if each in ours["breaking"] or each not in ours["known"]]


@on_fleet
def restart(fleet: Fleet, options: argparse.Namespace) -> None:
    """Roll one app, or all, one host at a time; or make nginx read its files."""
    groups = {"nginx": ["edge"], "": list(APPS)}.get(options.app, [options.app])
    with fleet.lock(f"restart of {options.app or 'all apps'}"):
        for group in groups:
            restart_group(fleet, group, options.app or group)


def restart_group(fleet: Fleet, group: str, shown: str) -> None:
    for host in fleet.groups[group]:
        print(f"Restart {shown} on {host}", flush=True)
        fleet.show(host, f"{HOST_COMMAND} restart {group}")


@on_fleet
def maintenance(fleet: Fleet, options: argparse.Namespace) -> None:
    with fleet.lock(f"maintenance {options.state}"):
        key = ""
        for host in fleet.groups["edge"]:
            key = fleet.ask(host, f"{HOST_COMMAND} maintenance {options.state} {key}")
        maintenance_mode.announce(options.state, key, f"https://{fleet.variables[host]['domains'][0]}/")
        for name in maintenance_mode.with_watchers() if options.state == "on" else []:
            restart_group(fleet, name, name)


@on_fleet
def down(fleet: Fleet, _: argparse.Namespace) -> None:
    """Stop nginx and all instances. Hosts of the group edge are first."""
    with fleet.lock("down"):
        for host in fleet.serving:
            with step(f"stop the services on {host}"):
                fleet.ask(host, f"{HOST_COMMAND} down")
    print("\nEverything is stopped; the data stays. A reboot, or `make deploy`, starts it.")


@on_fleet
def drain(fleet: Fleet, options: argparse.Namespace) -> None:
    host = options.host
    possible = list(dict.fromkeys([*fleet.serving, *cluster.hosts(fleet)]))
    if host not in possible:
        raise Failed(f"HOST is {host!r}: should be one of {', '.join(possible)}")
    if alone := [group for group in fleet.groups_of(host) if fleet.groups[group] == [host]]:
        raise Failed(f"{host} is the only host in {' and '.join(alone)}: nothing would serve")
    with fleet.lock(f"drain of {host}"):
        upgrade.drain(fleet, host)
    print(f"\n{host} is out of rotation and its services are stopped. A reboot starts them.")


@on_fleet
def upgrade_hosts(fleet: Fleet, options: argparse.Namespace) -> None:
    """Upgrade the operating system of each host, and reboot it, one host at a time."""
    with fleet.lock("upgrade of the hosts"):
        with step("check that every service is ready"):
            upgrade.wait_until_ready(fleet, within=0)
        with step("look for newer packages"):
            waiting = {host: what for host in upgrade.order(fleet) if (what := upgrade.pending(fleet, host))}
        if not waiting:
            print("\nEvery host is up to date.")
            return
        noticed = {host: upgrade.interruption(fleet, host) for host in waiting}
        plan(fleet, "Upgrade", *((host, what + noticed[host]) for host, what in waiting.items()))
        if options.force != "yes":
            upgrade.confirm([host for host in waiting if noticed[host]])
        for number, host in enumerate(waiting, start=1):
            print(f"{host}, {number} of {len(waiting)}", flush=True)
            try:
                upgrade.upgrade(fleet, host)
            except Failed as failed:
                raise Failed(
                    f"{failed}\n\n{host} is out of rotation, and the hosts after it were not touched. Fix the cause, "
                    "reboot it, and run this again: it skips finished hosts"
                ) from None
    print("\nEvery host is up to date and serves.")


@on_fleet
def switchover(fleet: Fleet, _: argparse.Namespace) -> None:
    with fleet.lock("switchover"):
        host = cluster.switch_over(fleet)
    print(f"\n{host} is the primary.")


@on_fleet
def move_data(fleet: Fleet, options: argparse.Namespace) -> None:
    """Replace the database by that of the inventory FROM."""
    old = Fleet(options.source)
    plan(fleet, "Move the data", ("from", old.name))
    with old.lock("move of the data"), fleet.lock("move of the data"):
        move.move(old, fleet, force=options.force == "yes")
    print(f"\n{fleet.name} has the database. {old.name} accepts no more writes: send visitors to {fleet.name}.")


# Times (UTC) in the output of data-backup, and the words before them.
SHOWN = {"database": "", "archive": "archive "}
BACKUP_STATUS = "runuser -u postgres -- data-backup status"


@on_fleet
def status(fleet: Fleet, _: argparse.Namespace) -> None:
    head = ("host", "groups", "release", "services", "disk", "security updates", "failed units", "newest backup")
    rows = [head, *(fleet_row(fleet, host) for host in fleet.hosts)]
    if cluster.hosts(fleet):
        rows = [(*row, said) for row, said in zip(rows, ["PostgreSQL", *databases(fleet)], strict=True)]
    table(rows)
    for address, holders in fleet.virtual_addresses().items():
        print(f"{address} is on {' and '.join(holders) or 'no host: journalctl --unit keepalived says why'}")


def databases(fleet: Fleet) -> list[str]:
    """Return what PostgreSQL is on each host of the fleet."""
    try:
        known = cluster.members(fleet)
    except Failed as failed:
        return [str(failed).splitlines()[-1][:60] if host in cluster.hosts(fleet) else "-" for host in fleet.hosts]
    return [cluster.describe(known.get(host)) if host in cluster.hosts(fleet) else "-" for host in fleet.hosts]


fleet = status


def fleet_row(fleet: Fleet, host: str) -> tuple[str, ...]:
    groups = fleet.groups_of(host)
    try:
        found = json.loads(fleet.ask(host, f"{HOST_COMMAND} status"))
    except (Failed, ValueError, subprocess.TimeoutExpired) as error:
        return host, " ".join(groups), "-", str(error).splitlines()[-1][:60], "-", "-", "-", "-"
    newest = newest_backup(fleet, host) if "data" in groups else "-"
    ready = [name for name, state in found["services"].items() if state == "ready"]
    said = [f"{' '.join(ready)} ready"] if ready else []
    said += [f"{name}: {state}" for name, state in found["services"].items() if state != "ready"]
    failed = " ".join(found["failed"]) or "none"
    updates = "-"
    # Earlier releases do not report it.
    if "updates" in found:
        updates = f"{found['updates']} pending" if found["updates"] else "installed"
    services, disk = "; ".join(said) or "-", f"{found['disk']:.0%}"
    return host, " ".join(groups), found["release"], services, disk, updates, failed, newest


def newest_backup(fleet: Fleet, host: str) -> str:
    """Return the times of the newest backup and of the archive's end, or why nobody knows them."""
    try:
        state = json.loads(fleet.ask(host, BACKUP_STATUS))
    except (Failed, ValueError, subprocess.TimeoutExpired) as error:
        return str(error).splitlines()[-1][:60]
    if not state:
        # A standby.
        return "-"
    if state["foreign"]:
        return "BACKUP_URL has another database's"
    times = {name: f"{datetime.fromtimestamp(state[name], UTC):%Y-%m-%d %H:%M}" for name in state if name in SHOWN}
    return ", ".join(f"{SHOWN[name]}{times[name]}" for name in SHOWN if name in times) or "none"


def logs(options: argparse.Namespace) -> None:
    """Follow the logs of an app, an instance, nginx or `access` on all hosts that have them."""
    fleet = Fleet(options.inventory)
    name = options.app
    group = INSTANCES[name].app.name if name in INSTANCES else {"nginx": "edge", "access": "edge"}.get(name, name)
    hosts = fleet.groups[group] if group else fleet.serving
    follow({host: fleet.ssh(host, f"{HOST_COMMAND} logs {name}", terminal=True) for host in hosts})


def manage(options: argparse.Namespace) -> None:
    """Become Django's manage.py on the first host of its app, at this terminal."""
    app = django()
    assert app
    fleet = Fleet(options.inventory)
    host = fleet.first(app)
    words = shlex.join(split(options.arguments))
    command = fleet.ssh(host, f"{HOST_COMMAND} manage {current(fleet, host)} {words}", terminal=sys.stdin.isatty())
    os.execvp(command[0], command)


def play_data(fleet: Fleet, playbook: str, **variables: Any) -> None:
    """Run a playbook on the data host. In a cluster that is the primary, but a restore is on all hosts."""
    if not fleet.groups["data"]:
        raise Failed(
            f"{fleet.name} has no data host: the provider of DATABASE_URL makes and restores the backups. For a copy "
            "of your own, use pg_dump"
        )
    primary = move.primary(fleet)
    plan(fleet, playbook.replace("-", " ").capitalize(), *([("to", variables["to"])] if variables.get("to") else []))
    if not fleet.play(playbook, [] if playbook == "restore" else [primary], primary=primary, **variables):
        raise Failed(f"{playbook} failed: see above")


@on_fleet
def backup(fleet: Fleet, _: argparse.Namespace) -> None:
    play_data(fleet, "backup")


@on_fleet
def restore(fleet: Fleet, options: argparse.Namespace) -> None:
    play_data(fleet, "restore", to=options.to, force=options.force == "yes")


@on_fleet
def restore_drill(fleet: Fleet, _: argparse.Namespace) -> None:
    play_data(fleet, "restore-drill")
