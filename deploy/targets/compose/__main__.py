"""What `make up`, `down`, `restart`, `status`, `logs`, `manage`, `dev` and `destroy` do in containers."""

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime

from deploy.docker.stack import PARTS, SECRETS, Stack, engine, output, secret_files, service, tail, write_secrets
from deploy.env import VAR, one_at_a_time, setting
from deploy.instance import APPS, INSTANCES, of
from deploy.terminal import Failed, confirm, readable, rolled, step, table

DATA = ("postgres", "redis")
# A service that only compose.dev.yml has.
DEV = "static"
# Digest of the secrets that what runs was started with.
APPLIED = VAR / "secrets.applied"


def up(stack: Stack) -> None:
    started = time.monotonic()
    secrets = secret_files()
    digest = hashlib.sha256(json.dumps(secrets).encode()).hexdigest()
    other_secrets = not APPLIED.exists() or APPLIED.read_text() != digest
    earlier = {file.name: file.read_text() for file in SECRETS.glob("*")}
    write_secrets(secrets)
    changed = False
    # `make dev`, or the end of it: all at once.
    if stack.dev or stack.running(DEV) or not any(stack.running(part) for part in PARTS):
        changed = True
        with step("PostgreSQL, Redis, migrations, then nginx and the apps"):
            start(stack)
    else:
        for name in DATA:
            if stack.changed(name) or not stack.running(name):
                changed = True
                with step(f"{name}: another container, or the old one again"):
                    stack.compose("up", "--detach", "--no-deps", "--wait", name)
        # First of all that changes: it stops at a setting that an application does not take.
        if other_secrets or stack.changed("migrate"):
            with step("migrations, static files"):
                try:
                    migrate(stack)
                except Failed:
                    # What runs may have to start again, and could not with secrets that were refused.
                    write_secrets(earlier)
                    raise
        if stack.changed("nginx") or not stack.running("nginx"):
            changed = True
            with step("nginx has a new image or settings: another container, and a second without"):
                stack.compose("run", "--rm", "--no-deps", "-T", "nginx", "python3", "-m", "deploy.nginx", "check")
                stack.compose("up", "--detach", "--no-deps", "nginx")
                stack.wait_ready("nginx")
        for name in dict.fromkeys(map(service, INSTANCES)):
            if not stack.running(name):
                changed = True
                with step(f"{name} does not run: starting it"):
                    stack.start(name)
        for app in APPS:
            out = [instance for instance in of(app) if not (stack.is_in(instance) and stack.runs(instance))]
            if other_secrets or out or any(stack.changed(service(instance)) for instance in of(app)):
                changed = True
                print(f"Roll {app}: " + (f"{out[0]} is out" if out else "its image or settings changed"), flush=True)
                roll(stack, app)
        if reload_nginx(stack):
            changed = True
            print("  · nginx has a new configuration: reloaded")
    if changed:
        for part in PARTS:
            with step(f"{part} ready"):
                stack.wait_ready(part)
    else:
        print("Nothing to do: what runs is what is here.")
    APPLIED.write_text(digest)
    said = stack.compose("exec", "-T", "site-a", "python", "django_site/manage.py", "seed").strip()
    print()
    status(stack)
    print(f"Up in {time.monotonic() - started:.1f} s. `make status`, `make logs`, `make down`.")
    if said:
        print(f"\n{said}")


def start(stack: Stack) -> None:
    try:
        stack.compose("up", "--detach", "--remove-orphans")
    except Failed:
        migration = stack.container("migrate")
        if migration and migration["State"]["ExitCode"]:
            raise Failed(f"the migrations failed:\n\n{tail(migration)}") from None
        raise


def migrate(stack: Stack) -> None:
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "migrate")
    container = stack.container("migrate")
    assert container
    code = output("docker", "wait", container["Id"])
    if code != "0":
        raise Failed(f"the migrations failed; nothing was restarted:\n\n{tail(container)}")


def reload_nginx(stack: Stack) -> bool:
    """Gives nginx its files if they changed; False if they did not."""
    return bool(stack.compose("exec", "-T", "nginx", "python3", "-m", "deploy.nginx", "reload").strip())


def roll(stack: Stack, app: str) -> None:
    rolled(app, stack.roll(app), lambda: [part for part in of(app) if stack.serves(part)])


def restart(stack: Stack, app: str) -> None:
    """Of one app, or of both; or of nginx, for which it is another container, and a second without."""
    if not stack.running("nginx"):
        print("Nothing is running. `make up` starts it.")
        raise SystemExit(3)
    started = time.monotonic()
    for each in [app] if app else APPS:
        print(f"Restart {each}", flush=True)
        if each == "nginx":
            stack.compose("up", "--detach", "--no-deps", "--force-recreate", "nginx")
            stack.wait_ready("nginx")
            print("  ✓ another container of it has taken the port")
        else:
            roll(stack, each)
    print(f"\nDone in {time.monotonic() - started:.1f} s.")


def status(stack: Stack) -> None:
    services = list(dict.fromkeys(service(part) for part in PARTS))
    containers = [(name, each) for name in (*services, *DATA) for each in stack.containers(name)]
    if not any(container["State"]["Running"] for _, container in containers):
        print("Nothing is running. `make up` starts it.")
        raise SystemExit(3)
    usage = output("docker", "stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}")
    memory = {line.split()[0]: line.split()[1] for line in usage.splitlines()}
    rows = [("container", "state", "since", "memory", "image")]
    for name, container in containers:
        state = container["State"]
        words = state["Status"]
        if state["Running"]:
            parts = [part for part in PARTS if service(part) == name]
            words = ", ".join(filter(None, (why(stack, part) for part in parts))) or "ready"
            if name in DATA:
                words = state["Health"]["Status"]
        began = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC).astimezone()
        since = f"{began:%d %b %H:%M:%S}" if state["Running"] else "-"
        name, image = container["Name"].lstrip("/"), container["Config"]["Image"]
        rows.append((name, words, since, memory.get(container["Id"], "-"), image))
    table(rows)
    scheme = "https" if setting("TLS") == "on" else "http"
    print(f"\n{scheme}://{setting('ADDRESS')}:{setting('PORT')}/")


def why(stack: Stack, part: str) -> str:
    """What there is to say of a part; nothing if it is ready."""
    reason = stack.why_not_ready(part)
    out = "" if part == "nginx" or stack.is_in(part) else f"{part} gets no requests: `make restart`"
    return ", ".join(filter(None, (reason and f"{part}: {reason}", out)))


def logs(stack: Stack, app: str, lines: int = 20) -> None:
    """Follows what containers print; of supervisord's programs each line says which one it is of."""
    services = [name for name in stack.configuration["services"] if name.startswith(service(app))]
    command = stack.command("logs", "--follow", f"--tail={lines}", "--no-color", *services)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=stack.environment) as follow:
        assert follow.stdout
        with contextlib.suppress(KeyboardInterrupt):
            for line in follow.stdout:
                # Compose clears the line before it writes it, whatever it writes to.
                name, _, text = line.removeprefix("\x1b[2K").rstrip("\n").partition(" | ")
                print(f"{name.strip():<11} {readable(text)}", flush=True)


def down(stack: Stack) -> None:
    count = sum(stack.running(name) for name in (*map(service, PARTS), *DATA))
    stack.compose("down", "--remove-orphans")
    print("Stopped; data stays in its volumes." if count else "Nothing was running.")


def destroy(stack: Stack) -> None:
    confirm(stack.project, "its volumes, with the database and what was uploaded")
    stack.compose("down", "--remove-orphans", "--volumes")
    print("Deleted. `make up` begins anew.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=["up", "dev", "down", "restart", "status", "logs", "manage", "destroy"])
    parser.add_argument("--app", default="", choices=["", *APPS, *PARTS, *DATA, "migrate"])
    parser.add_argument("--arguments", default="help", help="of manage.py")
    arguments = parser.parse_args()
    os.umask(0o077)
    try:
        versions, why_not = engine()
        if not versions:
            raise Failed(why_not)
        stack = Stack()
        if arguments.command == "dev" or (arguments.command != "up" and stack.running(DEV)):
            stack = Stack(dev=True)
        if arguments.command in ("up", "dev"):
            with one_at_a_time():
                up(stack)
            if stack.dev:
                print()
                logs(stack, "", lines=0)
                print("\nIt runs on: `make down` stops it.")
        elif arguments.command == "status":
            status(stack)
        elif arguments.command == "restart":
            if arguments.app not in ("", "nginx", *APPS):
                parser.error("APP is site, api or nginx, or left out for both apps")
            with one_at_a_time():
                restart(stack, arguments.app)
        elif arguments.command == "logs":
            logs(stack, arguments.app)
        elif arguments.command == "manage":
            manage = ["python", "django_site/manage.py", *shlex.split(arguments.arguments)]
            command = stack.command("exec", *([] if sys.stdin.isatty() else ["-T"]), "site-a", *manage)
            os.execvpe(command[0], command, stack.environment)
        else:
            with one_at_a_time():
                destroy(stack) if arguments.command == "destroy" else down(stack)
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; `make up` goes on from here.") from None


if __name__ == "__main__":
    main()
