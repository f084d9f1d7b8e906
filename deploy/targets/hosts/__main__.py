"""`make provision`, `deploy`, `rollback` and the other commands for hosts: a plan before, a table after."""

import argparse
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from deploy import doctor, env
from deploy.instance import APPS
from deploy.terminal import Failed, step, table
from deploy.vm import release
from deploy.vm.fleet import BIN, GROUPS, Fleet

PYTHON = (
    "cd /srv/app/current && { [ -x .venv/bin/python ] && p=.venv/bin/python || p=python3; } && $p -m deploy.vm.host"
)


def plan(fleet: Fleet, what: str, *more: tuple[str, str]) -> None:
    print(f"{what} on {fleet.name}")
    rows = [*more, *((name, ", ".join(fleet.groups[name])) for name in GROUPS)]
    for name, value in rows:
        print(f"  {name:<10}{value}")
    print(flush=True)


def running(fleet: Fleet) -> dict[str, str]:
    """The current release of each host; empty before the first."""
    return {host: current(fleet, host) for host in fleet.hosts}


def current(fleet: Fleet, host: str) -> str:
    return fleet.ask(host, 'basename "$(readlink /srv/app/current)"')


def choose(fleet: Fleet, name: str, now: str) -> str:
    """The release of this name that the first host of the site has, or its newest before `now`."""
    host = fleet.groups["site"][0]
    found = fleet.ask(host, "cd /srv/app/releases && ls -d */RELEASE.json || true").split()
    names = sorted(each.partition("/")[0] for each in found)
    if name and name not in names:
        raise Failed(f"RELEASE is {name!r}: {host} has {', '.join(names) or 'none'}")
    older = [each for each in names if each < now]
    if not name and not older:
        raise Failed(f"{host} has no release before {now or 'the first'}")
    return name or older[-1]


def provision(fleet: Fleet) -> None:
    plan(fleet, "Provision")
    if not fleet.play("provision"):
        raise Failed("not all hosts are as they should be; mend it and run this again: what is done is not done again")


def deploy(fleet: Fleet, ref: str) -> None:
    made = release.manifest(ref)
    with fleet.lock(f"deploy of {ref}"):
        before = running(fleet)
        names = sorted({name for name in before.values() if name})
        shown = (
            ("release", made["name"]),
            ("ref", f"{ref}: {made['subject']}"),
            ("now", ", ".join(names) or "nothing"),
        )
        plan(fleet, "Deploy", *shown)
        with tempfile.TemporaryDirectory() as directory:
            archive = release.build(made, Path(directory))
            deployed = fleet.play("deploy", release=made["name"], archive=str(archive), archive_directory=directory)
        if not deployed:
            settle(fleet, before, made["name"])
    print(f"\n{made['name']} serves.")


def settle(fleet: Fleet, before: dict[str, str], failed: str) -> None:
    """After a deploy that failed: back to what every host ran before. Raises Failed in any case."""
    name = next((before[host] for host in fleet.groups["site"] if before[host]), "")
    if not name:
        raise Failed("the first deploy failed; mend it and run this again")
    print(f"\nThe deploy failed: back to {name}\n", flush=True)
    # A host that is new has no release yet, and goes on without one.
    if not fleet.play("rollback", [host for host in fleet.hosts if before[host]], release=name, discarded=failed):
        raise Failed(f"{failed} failed, and so did the way back to {name}: see above, and `make fleet`")
    raise Failed(f"{failed} was not deployed: see above. Every host runs what it ran before, {name}")


def rollback(fleet: Fleet, name: str, forced: bool) -> None:
    with fleet.lock("rollback"):
        first = fleet.groups["site"][0]
        now = current(fleet, first)
        target = choose(fleet, name, now)
        theirs = json.loads(fleet.ask(first, f"{PYTHON} schema {target}"))
        ours = json.loads(fleet.ask(first, f"{PYTHON} schema {now}"))
        newer = [each for each in theirs["applied"] if each not in theirs["known"]]
        plan(fleet, "Roll back", ("release", target), ("now", now), ("schema", schema_in_words(newer)))
        # One that the current release does not know either cannot be judged.
        cannot = [each for each in newer if each in ours["breaking"] or each not in ours["known"]]
        if cannot and not forced:
            raise Failed(
                f"{target} cannot run on a database that has {', '.join(cannot)}. Deploy a release that can, or "
                "restore a backup of that time (`make restore`); FORCE=yes goes back all the same"
            )
        if not fleet.play("rollback", release=target):
            raise Failed("the roll back failed: see above, and `make fleet`; run it again when that is mended")
    print(f"\n{target} serves.")


def drain(fleet: Fleet, host: str) -> None:
    apps = [app for app in APPS if host in fleet.groups[app]]
    if not apps:
        raise Failed(f"HOST is {host!r}: it is one that is in site or api")
    if alone := [app for app in apps if fleet.groups[app] == [host]]:
        raise Failed(f"{host} is the only host in {' and '.join(alone)}: nothing would serve")
    with fleet.lock(f"drain of {host}"), step(f"{' and '.join(apps)} on {host} (a minute at most)"):
        fleet.ask(host, f"{PYTHON} drain {' '.join(apps)}")
    print(f"\n{host} gets no requests and runs nothing. A reboot, or `make deploy`, brings it back.")


def schema_in_words(newer: list[str]) -> str:
    return f"stays: {', '.join(newer)} newer than that release" if newer else "that release's own"


def fleet_status(fleet: Fleet) -> None:
    rows = [("host", "groups", "release", "parts", "disk", "failed units", "newest backup")]
    for host in fleet.hosts:
        groups = [name for name in GROUPS if host in fleet.groups[name]]
        backup = "-"
        try:
            found = json.loads(fleet.ask(host, f"{PYTHON} status {' '.join(groups)}"))
        except (Failed, ValueError) as error:
            rows.append((host, " ".join(groups), "-", str(error).splitlines()[-1][:60], "-", "-", "-"))
            continue
        if "data" in groups:
            state = json.loads(fleet.ask(host, "app-backup status"))
            backup = f"{state['newest'] or 'none'}{', the last one failed' if state['failed'] else ''}"
        ready = [part for part, why in found["parts"].items() if why == "ready"]
        parts = f"{' '.join(ready)} ready" if ready else ""
        others = [f"{part}: {why}" for part, why in found["parts"].items() if why != "ready"]
        said = "; ".join([parts, *others] if parts else others) or "-"
        failed = " ".join(line.split()[0] for line in found["failed"]) or "none"
        rows.append((host, " ".join(groups), found["release"], said, f"{found['disk']:.0%}", failed, backup))
    table(rows)


def examine(fleet: Fleet) -> None:
    """Each host as it finds itself."""
    sick = []
    for host in fleet.hosts:
        groups = [name for name in GROUPS if host in fleet.groups[name]]
        print(f"{host}: {' '.join(groups)}", flush=True)
        if doctor.show(found_on(fleet, host, groups)):
            sick.append(host)
    if sick:
        raise Failed(f"something is wrong on {', '.join(sick)}")


def found_on(fleet: Fleet, host: str, groups: list[str]) -> doctor.Findings:
    try:
        found = json.loads(fleet.ask(host, f"{PYTHON} doctor {' '.join(groups)}"))
    except (Failed, ValueError, subprocess.TimeoutExpired) as error:
        remedy = "is it on, and has it a release? make fleet INVENTORY=…"
        yield doctor.wrong(f"it cannot be asked: {doctor.last(error)}", remedy)
    else:
        yield from (doctor.Finding(*each) for each in found)


def manage(fleet: Fleet, arguments: str) -> None:
    """On the first host of the site, at this terminal."""
    words = " ".join(map(shlex.quote, shlex.split(arguments)))
    host = fleet.groups["site"][0]
    command = fleet.ssh(host, f"{PYTHON} manage {current(fleet, host)} {words}")
    if sys.stdin.isatty():
        command.insert(1, "-t")
    os.execvp(command[0], command)


def make_secrets(fleet_path: str) -> None:
    """Makes what the inventory lacks, encrypted by ansible-vault, and the vault's password if there is none."""
    fleet = Fleet(fleet_path)
    if not fleet.password.exists() and "ANSIBLE_VAULT_PASSWORD_FILE" not in os.environ:
        fleet.password.touch(mode=0o600)
        fleet.password.write_text(secrets.token_urlsafe(32) + "\n")
        print(f"The vault's password is in {fleet.password}: keep it, apart from the repository, and to yourself.")
    file = fleet.directory / "group_vars/all/secrets.yml"
    known: dict[str, str] = {}
    if file.exists():
        view = [str(BIN / "ansible-vault"), "view", str(file)]
        done = subprocess.run(view, env=fleet.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{file}: {done.stderr.strip()}")
        known = yaml.safe_load(done.stdout) or {}
    made = {name.lower(): make() for name, make in env.SECRETS.items() if name.lower() not in known}
    if not made:
        print(f"Nothing to do: {file} has all of them.")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    encrypt = [str(BIN / "ansible-vault"), "encrypt", "--output", str(file), "-"]
    text = yaml.safe_dump(known | made)
    done = subprocess.run(encrypt, env=fleet.environment(), input=text, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"{file}: {done.stderr.strip()}")
    print(f"{', '.join(made)} made in {file}, which is encrypted: commit it.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    commands = ["provision", "deploy", "rollback", "drain", "backup", "restore", "restore-drill", "fleet", "manage"]
    commands += ["secrets", "doctor"]
    parser.add_argument("command", choices=commands)
    parser.add_argument("--inventory", default="")
    parser.add_argument("--ref", default="")
    parser.add_argument("--release", default="")
    parser.add_argument("--batch", default="", help="hosts rolled at a time: a number, or a share, as 25%%")
    parser.add_argument("--host", default="")
    parser.add_argument("--backup", default="")
    parser.add_argument("--arguments", default="help", help="of manage.py")
    parser.add_argument("--force", default="", choices=["", "yes"])
    given = parser.parse_args()
    began = time.monotonic()
    try:
        if given.command == "secrets":
            make_secrets(given.inventory)
            return
        if given.command == "manage":
            manage(Fleet(given.inventory), given.arguments)
        if not re.fullmatch(r"|[1-9]\d*%?", given.batch):
            raise Failed(f"BATCH is {given.batch!r}: it is a number of hosts, or a share of them, as 25%")
        with step(f"inventory {given.inventory}"):
            fleet = Fleet(given.inventory, given.batch)
        if given.command == "provision":
            provision(fleet)
        elif given.command == "deploy":
            deploy(fleet, given.ref or "HEAD")
        elif given.command == "rollback":
            rollback(fleet, given.release, given.force == "yes")
        elif given.command == "drain":
            drain(fleet, given.host)
        elif given.command == "fleet":
            fleet_status(fleet)
        elif given.command == "doctor":
            examine(fleet)
        else:
            plan(
                fleet,
                given.command.capitalize(),
                *([("backup", given.backup or "the newest")] if "restore" in given.command else []),
            )
            wanted = {"backup": given.backup or "newest", "force": given.force == "yes"}
            if not fleet.play(given.command, **wanted):
                raise Failed(f"{given.command} failed: see above")
            if given.command == "backup":
                state = json.loads(fleet.ask(fleet.groups["data"][0], "app-backup status"))
                megabytes = state["bytes"] / 1e6
                print(f"\n{state['newest']}: {megabytes:,.1f} MB, there and in backups/{fleet.directory.name}")
        print(f"\nDone in {time.monotonic() - began:.0f} s.")
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; the same command goes on from here.") from None


if __name__ == "__main__":
    main()
