"""What a deploy does on one host, as root, in a release's directory: `.venv/bin/python -m deploy.vm.host COMMAND …`.

Hosts are laid out by deploy/ansible: releases in /srv/app/releases, of which `current` names one, and run-time files in
/srv/app/var. A host that only has nginx has no virtual environment; what it needs here is in the standard library.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy import doctor, roll, supervisord
from deploy.instance import APPS, get, members, of, port, wait_idle, why_not_ready
from deploy.terminal import Failed, readable, rolled, wait_ready

APP = Path("/srv/app")
RELEASES, CURRENT, VAR = APP / "releases", APP / "current", APP / "var"
RUN = VAR / "run"
# What instances read when they start: one that is older than these is restarted by the next deploy.
ENVIRONMENT, SECRETS = APP / "environment", APP / "secrets"


class Host:
    """The instances of this host, for a roll (deploy/roll.py)."""

    def __init__(self) -> None:
        self.workers = int(os.environ["CORES"])

    def master(self, instance: str) -> int:
        """Its pid; 0 if it does not run."""
        if instance.startswith("site"):
            return int(systemctl("show", "--property=MainPID", "--value", unit(instance)))
        with contextlib.suppress(OSError):
            return int(supervisord.connect(VAR).getProcessInfo(supervisord.program(instance))["pid"])
        return 0

    def release(self, instance: str) -> str:
        """The name of the one that it runs, which is where it works; empty if it does not run."""
        with contextlib.suppress(OSError):
            works = Path(f"/proc/{self.master(instance)}/cwd").resolve(strict=True)
            return works.relative_to(RELEASES).parts[0] if works.is_relative_to(RELEASES) else ""
        return ""

    def is_current(self, instance: str) -> bool:
        """It runs `current`, and started after its settings and secrets were written."""
        import psutil

        if self.release(instance) != current():
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            began = psutil.Process(self.master(instance)).create_time()
            # Not nginx's certificate, which is renewed every two months.
            read = [ENVIRONMENT, *(file for file in SECRETS.iterdir() if not file.name.startswith("tls_"))]
            return all(file.stat().st_mtime < began for file in read)
        return False

    def why_not_ready(self, instance: str) -> str:
        return why_not_ready(RUN, instance, self.workers)

    def serves(self, instance: str) -> bool:
        return roll.is_in(RUN, instance) and not self.why_not_ready(instance)

    def ports(self, instance: str) -> list[str]:
        return [str(port(member)) for member in members(instance, self.workers)]

    def take_out(self, instance: str) -> None:
        """For nginx on this host by its link; for one on another the firewall refuses, and it asks the next server."""
        roll.take_out(RUN, instance)
        run("nft", "add", "element", "inet", "filter", "out", f"{{ {', '.join(self.ports(instance))} }}")

    def take_back(self, instance: str) -> None:
        # Added first: an element that is not there cannot be deleted.
        elements = f"inet filter out {{ {', '.join(self.ports(instance))} }}"
        run("nft", f"add element {elements}; delete element {elements}")
        roll.take_back(RUN, instance)

    def wait_idle(self, instance: str) -> None:
        wait_idle(RUN, instance)

    def restart(self, instance: str) -> None:
        if instance.startswith("site"):
            run("systemctl", "stop", unit(instance))
            # Stopped between two restarts of its own it would go on counting them, from which cannot_stay_up tells.
            systemctl("reset-failed", unit(instance))
            run("systemctl", "start", unit(instance))
            return
        run("systemctl", "start", unit(instance))
        wait_until(lambda: supervisord.answers(VAR), f"supervisord does not answer: journalctl -u {unit(instance)}")
        supervisord.restart(supervisord.connect(VAR), instance)

    def cannot_stay_up(self, instance: str) -> bool:
        if instance.startswith("site"):
            state = systemctl("show", "--property=NRestarts,ActiveState", "--value", unit(instance)).split()
            return "failed" in state or not set(state) & {"0"}
        return supervisord.cannot_stay_up(supervisord.connect(VAR), instance)

    def wait_ready(self, instance: str) -> None:
        wait_ready(instance, self.why_not_ready, lambda: self.cannot_stay_up(instance), lambda: tail(instance))

    def roll(self, app: str) -> Iterator[str]:
        """Restarts those that do not serve, or are not of the current release and settings, one after the other."""
        return roll.roll(self, [each for each in of(app) if not (self.is_current(each) and self.serves(each))])


def unit(part: str) -> str:
    """`nginx`, `tandem-site@a`, or `tandem-api`, which has both instances."""
    name = "api" if part.startswith("api") else part.replace("-", "@")
    return part if part == "nginx" else f"tandem-{name}"


def tail(part: str) -> str:
    if part.startswith("api"):
        log = output("tail", "--lines=20", str(VAR / f"log/{part}.log"))
    else:
        log = output("journalctl", "--unit", unit(part), "--lines=20", "--output=cat")
    return "\n".join(map(readable, log.splitlines()))


def wait_until(condition: Callable[[], object], otherwise: str) -> None:
    """Raises Failed after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(otherwise)
        time.sleep(0.1)


def run(*command: str) -> None:
    """Raises Failed with what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} failed:\n{done.stdout}")


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def systemctl(*words: str) -> str:
    return output("systemctl", *words)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One roll at a time: one whose controller died goes on to the end of this host."""
    with Path("/run/app-roll.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Releases


def current() -> str:
    """The name of the current release; empty before the first."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def releases() -> list[dict[str, str]]:
    """The manifests (deploy/vm/release.py) of those that are complete, the oldest first."""
    found = [json.loads(file.read_text()) for file in RELEASES.glob("*/RELEASE.json")]
    return sorted(found, key=lambda manifest: manifest["name"])


def switch(name: str) -> str | None:
    """`current` names another release from one moment to the next; says so if it did not before."""
    if current() == name:
        return None
    fresh = CURRENT.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(RELEASES / name)
    fresh.replace(CURRENT)
    return f"{name} is current"


def in_use() -> set[str]:
    """The releases that a process works in: an instance that drains, or supervisord, which outlives them."""
    found = {current()}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            works = (process / "cwd").resolve(strict=True)
            if works.is_relative_to(RELEASES) and works != RELEASES:
                found.add(works.relative_to(RELEASES).parts[0])
    return found


def prune(keep: str) -> str:
    """Deletes all but the newest `keep` releases, and what a deploy left incomplete; their names."""
    complete = [manifest["name"] for manifest in releases()]
    kept = {*complete[-int(keep) :], *in_use()}
    gone = [path for path in sorted(RELEASES.iterdir()) if path.name not in kept]
    for path in gone:
        shutil.rmtree(path)
    prune_static()
    return " ".join(path.name for path in gone)


def prune_static() -> None:
    """Deletes what no release here knows: each names its files in a manifest (django_site/config/storage.py)."""
    static = VAR / "static"
    known = set()
    for name in (path.name for path in RELEASES.iterdir()):
        manifest = Path(f"staticfiles-{name}.json")
        with contextlib.suppress(FileNotFoundError):
            paths = json.loads((static / manifest).read_text())["paths"]
            known |= {manifest, *map(Path, paths), *map(Path, paths.values())}
    for file in static.rglob("*"):
        path = file.relative_to(static)
        if file.is_file() and not {path, path.with_suffix("")} & known:
            file.unlink()


def discard(name: str) -> None:
    """A release that was not to be."""
    if name not in in_use():
        shutil.rmtree(RELEASES / name, ignore_errors=True)


def take_static(directory: str) -> None:
    """Puts each file in its place at once; those of earlier releases stay, which open pages ask for."""
    fresh = Path(directory)
    for file in sorted(path for path in fresh.rglob("*") if path.is_file()):
        place = VAR / "static" / file.relative_to(fresh)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    shutil.rmtree(fresh)


# A release, before it is current


def as_app(name: str, *command: str, **variables: str) -> str:
    """Runs a command as the user that the apps are, in a release's directory, with their environment; its output.

    Raises Failed with the output.
    """
    done = subprocess.run(
        command,
        cwd=RELEASES / name,
        env=os.environ | variables,
        user="app",
        group="app",
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(map(readable, done.stdout.strip().splitlines()))
        raise Failed(f"{name}: {' '.join(command[:4])} failed:\n\n{said}")
    return done.stdout.strip()


def manage(name: str, *arguments: str) -> str:
    return as_app(name, ".venv/bin/python", "django_site/manage.py", *arguments)


def manage_here(name: str, *arguments: str) -> None:
    """The same, at the terminal that this has."""
    command = [".venv/bin/python", "django_site/manage.py", *arguments]
    done = subprocess.run(command, cwd=RELEASES / name, user="app", group="app", extra_groups=[], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def give_nginx() -> None:
    """Starts nginx, or has it take changed files; raises Failed when it does not accept them."""
    before = get(RUN / "nginx.sock", "/")[0]
    run("systemctl", "reload-or-restart" if before else "restart", "nginx")
    wait_until(lambda: get(RUN / "nginx.sock", "/")[0], "nginx does not answer: journalctl -u nginx")


def schema(name: str) -> str:
    """JSON of deploy/vm/schema.py, as this release sees the database."""
    return as_app(name, ".venv/bin/python", "deploy/vm/schema.py")


SUPERVISOR_OPTIONS = """
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", "deploy/supervisor/supervisord.conf"])
"""


def check(name: str, group: str) -> None:
    """Raises Failed if a release cannot run here: each server reads its own files, and the apps are imported."""
    with tempfile.TemporaryDirectory() as scratch:
        for directory in ("run", "log", "tmp", "supervisor", "static", "media"):
            (Path(scratch) / directory).mkdir()
        shutil.chown(scratch, "app", "app")
        for path in Path(scratch).iterdir():
            shutil.chown(path, "app", "app")
        if group == "site":
            manage(name, "check", "--deploy", "--fail-level=WARNING")
            uwsgi = [".venv/bin/uwsgi", "--ini", "deploy/uwsgi/site.ini", "--no-server"]
            as_app(name, *uwsgi, INSTANCE="a", VAR_DIR=scratch, SITE_BIND="")
        elif group == "api":
            gunicorn = [".venv/bin/gunicorn", "--check-config", "--config", "deploy/gunicorn/api.py"]
            as_app(name, *gunicorn, INSTANCE="a")
            programs = {"SUPERVISOR_PROGRAMS": "api.conf", "SUPERVISOR_LOG_SIZE": "10MB"}
            as_app(name, ".venv/bin/python", "-c", SUPERVISOR_OPTIONS, **programs)
        else:
            nginx = subprocess.run(
                [sys.executable, "-m", "deploy.nginx", "check"],
                cwd=RELEASES / name,
                env=os.environ | {"VAR_DIR": scratch},
                capture_output=True,
                text=True,
                check=False,
            )
            if nginx.returncode:
                raise Failed(f"{name}: {nginx.stderr}")


# What is here


def status(*groups: str) -> str:
    """JSON: release, releases (names), parts {instance or nginx: "ready" or why not}, failed (units), disk (share)."""
    parts = {}
    if {"site", "api"} & set(groups):
        host = Host()
        for instance in (each for app in APPS if app in groups for each in of(app)):
            name = host.release(instance)
            notes = [host.why_not_ready(instance) or "ready"]
            notes += [] if roll.is_in(RUN, instance) else ["gets no requests"]
            notes += [f"runs {name or 'nothing'}"] if name != current() else []
            parts[instance] = ", ".join(notes)
    if "edge" in groups:
        parts["nginx"] = "ready" if get(RUN / "nginx.sock", "/")[0] else "it does not answer"
    disk = shutil.disk_usage(APP)
    found = {
        "release": current(),
        "releases": [manifest["name"] for manifest in releases()],
        "parts": parts,
        "failed": systemctl("--failed", "--plain", "--no-legend", "--full").splitlines(),
        "disk": disk.used / disk.total,
    }
    return json.dumps(found)


def roll_group(name: str, group: str) -> None:
    """Site, api or edge: what this host has of it is of this release."""
    with alone():
        if said := switch(name):
            print(f"  ✓ {said}")
        if group == "edge":
            give_nginx()
            print("  ✓ nginx has its files")
        else:
            host = Host()
            rolled(group, host.roll(group), lambda: [each for each in of(group) if host.serves(each)])


def drain(*apps: str) -> str:
    """Stops the instances of this host, each once it holds nothing; a boot, or a deploy, starts them."""
    with alone():
        host = Host()
        instances = [each for app in apps for each in of(app)]
        for instance in instances:
            host.take_out(instance)
        for instance in instances:
            host.wait_idle(instance)
        run("systemctl", "stop", *map(unit, instances))
        for instance in instances:
            host.take_back(instance)
    return f"{' '.join(instances)} stopped"


class OnHost(doctor.Native):
    """What `make doctor` looks at here."""

    name = "host"
    var = VAR
    start = "make deploy INVENTORY=…"
    private = (ENVIRONMENT, SECRETS, VAR)

    def __init__(self, groups: Sequence[str]) -> None:
        self.running = True
        self.variables = dict(os.environ)
        apps = [each for app in APPS if app in groups for each in of(app)]
        self.parts = [*(["nginx"] if "edge" in groups else []), *apps]
        self.has_apps = bool(apps)

    def places(self) -> Iterator[tuple[str, str]]:
        for name in ("LISTEN", "LISTEN_PLAIN"):
            if name in os.environ:
                address, _, number = os.environ[name].rpartition(":")
                yield address, number

    def listens(self, process: int) -> bool:
        master = int((RUN / "nginx.pid").read_text())
        return process == master or str(process) in output("pgrep", "--parent", str(master)).split()

    def python(self) -> str:
        return str(CURRENT / ".venv/bin/python") if self.has_apps else "/usr/bin/python3"

    def uv(self) -> Path:
        return Path("/opt/uv/bin/uv")

    def machine(self) -> doctor.Findings:
        yield from doctor.python(self)
        if "nginx" in self.parts:
            yield from doctor.nginx()
        if self.has_apps:
            yield from doctor.packages(self)
        failed = [line.split()[0] for line in systemctl("--failed", "--plain", "--no-legend", "--full").splitlines()]
        for name in failed:
            yield doctor.wrong(f"{name} failed", f"journalctl --unit {name}; systemctl restart {name}")
        if not failed:
            yield doctor.right("systemd: no unit failed")

    def processes(self) -> Iterator[tuple[int, int, str]]:
        import psutil

        for process in psutil.process_iter(["ppid", "name", "username"]):
            if process.info["username"] == "app":
                yield process.pid, process.info["ppid"], process.info["name"]

    def files_allowed(self) -> doctor.Findings:
        """The units' own limit."""
        yield from ()

    def url(self, name: str) -> str:
        file = os.environ.get(f"{name}_FILE")
        return Path(file).read_text().strip() if file else ""

    def secrets(self) -> dict[str, str]:
        found = {name: self.url(name) for name in ("SECRET_KEY", "TOKEN_KEYS")}
        return found | doctor.url_passwords(self.url("DATABASE_URL"), self.url("REDIS_URL"))

    def faults(self) -> list[str]:
        """Provision wrote them."""
        return []

    def restart(self, part: str) -> str:
        return self.start

    def logs(self, part: str) -> str:
        return f"tail {VAR}/log/{part}.log" if part.startswith("api") else f"journalctl --unit {unit(part)}"

    def tail(self, part: str) -> str:
        return tail(part)

    def manage(self, *words: str) -> str:
        return manage(current(), *words)


def examine(*groups: str) -> str:
    """JSON: what `make doctor` finds here, each its mark, what it is, and how it is mended."""
    return json.dumps(list(doctor.look(OnHost(groups))))


COMMANDS: dict[str, Callable[..., str | None]] = {
    "check": check,
    "discard": discard,
    "doctor": examine,
    "drain": drain,
    "manage": manage_here,
    "prune": prune,
    "roll": roll_group,
    "schema": schema,
    "status": status,
    "switch": switch,
    "take-static": take_static,
}


def main(command: str, *words: str) -> None:
    if ENVIRONMENT.exists():
        pairs = (line.partition("=") for line in ENVIRONMENT.read_text().splitlines())
        os.environ.update((name, value) for name, _, value in pairs if value and not name.startswith("#"))
    try:
        if said := COMMANDS[command](*words):
            print(said)
    except Failed as failed:
        raise SystemExit(str(failed)) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
