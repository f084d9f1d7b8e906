"""What `make up`, `down`, `restart`, `status`, `logs`, `manage` and `destroy` do on a machine without containers."""

import argparse
import contextlib
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
from dotenv import dotenv_values

from deploy.env import ENV_FILE, PROJECT, VAR, make_env_file, one_at_a_time
from deploy.instance import APPS, get, members, of, uwsgi_stats
from deploy.native import settings
from deploy.native.stack import LOG, PARTS, RUN, Stack, fingerprint, manage
from deploy.roll import is_in, take_back
from deploy.terminal import Failed, confirm, readable, rolled, step, table

APPLIED = VAR / "applied.json"
ENVIRONMENT = VAR / "environment"
# What an app is made from: when any of it changes, `make up` rolls the app.
SOURCES = {"site": ["django_site", "deploy/uwsgi"], "api": ["tornado_api", "deploy/gunicorn"]}


def drop_root() -> None:
    """As root, go on as www-data: nothing of the stack needs root, and what listens to the world must not have it."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam("www-data")
    VAR.mkdir(parents=True, exist_ok=True)
    if VAR.stat().st_uid != account.pw_uid:
        for path in [VAR, *VAR.rglob("*")]:
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = str(VAR)
    for path in (Path(sys.executable), PROJECT / "deploy", VAR):
        if not os.access(path, os.R_OK | os.X_OK):
            raise Failed(
                f"www-data, which runs the stack when root starts it, may not read {path}.\n"
                "Run this as an ordinary user, or move the project to a directory that others may enter, as /srv."
            )


def write_environment(stack: Stack) -> None:
    """The variables for the programs under supervisord, which read them at each start."""
    ENVIRONMENT.touch(mode=0o600)
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in stack.variables.items()}
    ENVIRONMENT.write_text("".join(f"{name}='{value}'\n" for name, value in quoted.items()))


def up(stack: Stack) -> None:
    started = time.monotonic()
    for directory in (RUN, LOG, *(VAR / name for name in ("tmp", "supervisor", "static", "media"))):
        directory.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o700)
    was_running = stack.running()
    applied = json.loads(APPLIED.read_text()) if was_running and APPLIED.exists() else {}
    read_by_apps = {name: value for name, value in stack.variables.items() if name not in settings.NGINX_ONLY}
    wanted = {app: fingerprint([*SOURCES[app], "deploy/cores.py", "uv.lock"], read_by_apps) for app in APPS}
    wanted["supervisor"] = fingerprint(["deploy/supervisor"])
    changed = {part for part in wanted if applied.get(part) != wanted[part]}

    said = ""
    if "site" in changed:
        print("Site", flush=True)
        with step("migrations"):
            manage(stack.variables, "migrate", "--no-input")
            manage(stack.variables, "createcachetable")
        with step("static files, hashed and compressed"):
            manage(stack.variables, "collectstatic", "--no-input")
        with step("first data and admin"):
            said = manage(stack.variables, "seed")
    write_environment(stack)

    if was_running and "supervisor" in changed:
        with step("supervisord has a new configuration: stopping"):
            stack.shut_down()
            RUN.mkdir(mode=0o700)
        was_running = False
    if not was_running:
        print("Processes", flush=True)
        stack.shut_down()
        RUN.mkdir(mode=0o700, exist_ok=True)
        stack.configure_nginx()
        for app in APPS:
            for instance in of(app):
                take_back(RUN, instance)
        with step("supervisord"):
            stack.start_supervisord()
    else:
        for part, info in stack.processes().items():
            if info["statename"] not in ("RUNNING", "STARTING"):
                changed.add(part)
                stack.restart(part)
        for app in APPS:
            out = [instance for instance in of(app) if not is_in(RUN, instance)]
            if app in changed or out:
                changed.add(app)
                print(f"Roll {app}: " + (f"{out[0]} is out" if out else "its code or settings changed"), flush=True)
                # A roll that fails is taken up again, even if its edit is taken back.
                applied.pop(app, None)
                APPLIED.write_text(json.dumps(applied))
                roll(stack, app)
        if stack.configure_nginx():
            changed.add("nginx configuration")
            with step("nginx has a new configuration: reloading"):
                stack.reload_nginx()
    for part in PARTS:
        with step(f"{part} ready") if not was_running or part in changed else contextlib.nullcontext():
            stack.wait_ready(part)

    APPLIED.write_text(json.dumps(wanted))
    if not changed:
        print("Nothing to do: what runs is what is here.")
    print()
    whereabouts(stack, time.monotonic() - started)
    if said:
        print(f"\n{said}")


def address(stack: Stack) -> str:
    scheme = "https" if stack.variables["TLS"] == "on" else "http"
    return f"{scheme}://{stack.variables['LISTEN']}/"


def whereabouts(stack: Stack, seconds: float) -> None:
    rows = [("", "workers", "where")]
    for part, info in stack.processes().items():
        sockets = f"{RUN.relative_to(VAR.parent)}/{'.sock, '.join(members(part, stack.workers))}.sock"
        where = address(stack) if part == "nginx" else sockets
        rows.append((part, str(len(psutil.Process(info["pid"]).children())), where))
    for row in rows:
        print(f"  {row[0]:<8} {row[1]:>7}  {row[2]}")
    print(f"\n  {address(stack)}  up in {seconds:.1f} s. `make status`, `make logs`, `make down`.")


def down(stack: Stack) -> None:
    count = stack.shut_down()
    print(f"Stopped: {count} processes ended." if count else "Nothing was running.")


def roll(stack: Stack, app: str) -> None:
    rolled(app, stack.roll(app), lambda: [part for part in of(app) if stack.serves(part)])


def destroy(stack: Stack) -> None:
    confirm(VAR.parent.name, f"all that is in {VAR}")
    stack.shut_down()
    # Not the directory itself, which may be in one where www-data may not write.
    for path in VAR.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    print("Deleted. `make up` begins anew.")


def restart(stack: Stack, app: str) -> None:
    """Of one app, or of both; or nginx, by an upgrade in place."""
    if not stack.running():
        print("Nothing is running. `make up` starts it.")
        raise SystemExit(3)
    if stack.why_not_ready("nginx"):
        raise Failed("nginx does not answer, and nobody is served: see `make logs APP=nginx`, and `make up`.")
    started = time.monotonic()
    for each in [app] if app else APPS:
        print(f"Restart {each}", flush=True)
        if each == "nginx":
            stack.upgrade_nginx()
            print("  ✓ the nginx that is installed now has taken over", flush=True)
        else:
            roll(stack, each)
    print(f"\nDone in {time.monotonic() - started:.1f} s.")


def status(stack: Stack) -> None:
    if not stack.running():
        print("Nothing is running. `make up` starts it.")
        raise SystemExit(3)
    rows = [("process", "pid", "state", "since", "memory", "requests", "watchers")]
    total = 0.0
    for part, info in stack.processes().items():
        out = "" if part == "nginx" or is_in(RUN, part) else ", gets no requests: `make restart`"
        if not info["pid"]:
            rows.append((part, "-", info["statename"].lower() + out, "-", "-", "-", "-"))
            continue
        reason = stack.why_not_ready(part)
        served = requests_served(part, stack)
        master = psutil.Process(info["pid"])
        for number, process in enumerate([master, *sorted(master.children(), key=lambda child: child.pid)]):
            name, state = (f"  worker {number - 1}", "") if number else (part, (reason or "ready") + out)
            # A worker that was recycled this very moment is left out.
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = megabytes(process)
                began = datetime.fromtimestamp(int(process.create_time()))
                since = f"{began:%d %b %H:%M:%S} ({datetime.now().replace(microsecond=0) - began})"
                counts = served.get(process.pid, ("", ""))
                rows.append((name, str(process.pid), state or process.status(), since, f"{memory:.0f} MB", *counts))
                total += memory
    table(rows)
    print(f"\n{address(stack)}  {total + megabytes(stack.supervisord()):.0f} MB in all, supervisord included.")


def megabytes(process: psutil.Process) -> float:
    """The proportional size: what processes share counts once in their sum."""
    return float(process.memory_full_info().pss) / 1e6


def requests_served(part: str, stack: Stack) -> dict[int, tuple[str, str]]:
    """Requests and watchers by pid of worker, from what the workers themselves count."""
    if part.startswith("site"):
        stats = uwsgi_stats(RUN, part) or {"workers": []}
        return {worker["pid"]: (str(worker["requests"]), "") for worker in stats["workers"]}
    if part.startswith("api"):
        answers = [get(RUN / f"{member}.sock", "/health/stats") for member in members(part, stack.workers)]
        return {body["pid"]: (str(body["requests"]), str(body["watchers"])) for code, body in answers if code == 200}
    return {}


def logs(app: str) -> None:
    files = sorted(file for file in LOG.glob("*.log") if file.name.startswith(app))
    if not files:
        raise Failed(f"no log of {app or 'anything'} in {LOG}: has it run?")
    with subprocess.Popen(
        ["tail", "--lines=20", "--follow=name", "--retry", *files], stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout
        name = files[0].stem
        with contextlib.suppress(KeyboardInterrupt):
            for line in tail.stdout:
                # tail names the file when it goes on with another.
                if line.startswith("==> "):
                    name = Path(line[4:-5]).stem
                elif line.strip():
                    print(f"{name:<11} {readable(line.rstrip())}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "restart", "status", "logs", "manage", "destroy"])
    parser.add_argument("--app", default="", choices=["", "access", *APPS, *PARTS])
    parser.add_argument("--arguments", default="help", help="of manage.py")
    arguments = parser.parse_args()
    # Debian's place for nginx, which an ordinary user's PATH leaves out.
    os.environ["PATH"] += ":/usr/sbin"
    # Data, logs and sockets are nobody else's business.
    os.umask(0o077)
    try:
        if arguments.command == "up":
            if make_env_file():
                print(f"Secrets made in {ENV_FILE}: keep it, and keep it to yourself.")
            variables = settings.read()
            drop_root()
            with one_at_a_time():
                up(Stack(variables))
        elif not ENVIRONMENT.exists():
            print("Nothing has run here yet. `make up` starts it.")
        elif arguments.command == "logs":
            logs(arguments.app)
        else:
            drop_root()
            # What runs has the variables that the last `make up` gave it.
            stack = Stack({name: value or "" for name, value in dotenv_values(ENVIRONMENT).items()})
            if arguments.command == "status":
                status(stack)
            elif arguments.command == "restart":
                if arguments.app not in ("", "nginx", *APPS):
                    parser.error("APP is site, api or nginx, or left out for both apps")
                with one_at_a_time():
                    restart(stack, arguments.app)
            elif arguments.command == "manage":
                manage = [sys.executable, str(PROJECT / "django_site/manage.py"), *shlex.split(arguments.arguments)]
                os.execve(manage[0], manage, os.environ | stack.variables)
            else:
                with one_at_a_time():
                    destroy(stack) if arguments.command == "destroy" else down(stack)
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except PermissionError as error:
        raise SystemExit(f"\n✗ {error}: run this as the user who first ran it, or mend its owner.") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; `make up` goes on from here.") from None


if __name__ == "__main__":
    main()
