"""Checks of files: permissions, leftovers of killed processes, settings, secrets and the certificate."""

import ipaddress
import os
import shutil
import ssl
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from deploy.core.certificate import why_no_pair
from deploy.core.console import Failed
from deploy.core.owner import NOBODY, name_of
from deploy.core.settings import ENV_FILE, faults
from deploy.servers.base import unix_socket

from .findings import Findings, right, soon, unknown, wrong
from .stacks import NativeStack

CERTIFICATE_DAYS = 30
# Characters. The apps refuse to start with less for these two. `make up` makes longer ones.
SHORTEST = {"SECRET_KEY": 50, "TOKEN_KEYS": 32}
SHORTEST_PASSWORD = 16
# Different characters.
FEWEST = 10
# Passwords with one of these words are guessed first.
WORDS = ("secret", "passw", "insecure", "changeme", "change-me", "example", "123456", "qwerty", "abcdef")


def ownership(stack: NativeStack) -> Findings:
    """The settings and the run-time files belong to this user."""
    for path in (ENV_FILE, stack.var):
        if path.exists() and os.geteuid() not in (0, path.stat().st_uid):
            # When root runs `make up`, var/ belongs to www-data.
            user = "root" if owner(path) == NOBODY else owner(path)
            take = f"make down as {user}, then: sudo chown -R {os.geteuid()}: {path}"
            yield wrong(f"{path} belongs to {owner(path)}, not to you", f"continue as {user}; or {take}")
        elif path.exists() and not os.access(path, os.W_OK):
            yield wrong(f"{path} is not writable", f"chmod u+rwX {path}")


def foreign_files(stack: NativeStack) -> Findings:
    """A command as root, for example `nginx -t`, takes files away from the user of the stack."""
    if not stack.var.is_dir():
        return
    user = stack.var.stat().st_uid
    # Two levels: the pictures of users are below. Another check finds sockets.
    all_of_it = [path for path in (*stack.var.glob("*"), *stack.var.glob("*/*")) if not path.is_socket()]
    found = [path for path in all_of_it if path.lstat().st_uid != user]
    if tmp := [path for path in found if path.parent.name == "tmp"]:
        yield wrong(f"nginx cannot write to {tmp[0]}, which belongs to {owner(tmp[0])}: uploads fail", stack.start)
    if other := sorted({path for path in found if path not in tmp}):
        names = " ".join(map(str, other))
        yield wrong(
            f"{names}: not of {owner(stack.var)}, who runs the stack", f"sudo chown -R {owner(stack.var)}: {names}"
        )


def owner(path: Path) -> str:
    return name_of(path.lstat().st_uid)


def permissions(stack: NativeStack) -> Findings:
    """Other users may not read secrets and data."""
    found = [path for path in stack.private if path.exists()]
    readable = [path for path in found if path.stat().st_mode & 0o007]
    for path in readable:
        yield wrong(f"{path}: other users may read it ({stat.filemode(path.stat().st_mode)})", f"chmod -R o= {path}")
    if found and not readable:
        yield right(f"permissions: no other user may read {', '.join(path.name for path in found)}")


def leftovers(stack: NativeStack) -> Findings:
    """A killed process leaves sockets, a pid file, and the processes that it started."""
    run = stack.var / "run"
    sockets = [path for path in (*sorted(run.glob("*")), stack.var / "supervisor/supervisord.sock") if path.is_socket()]
    own = own_sockets(stack)
    stale = [path for path in sockets if path.name.partition(".")[0] not in own and refuses(path)]
    if stale:
        names = " ".join(map(str, stale))
        yield wrong(f"no process listens on {names}", f"rm {names}")
    if (pid := run / "nginx.pid").exists() and not Path(f"/proc/{pid.read_text().strip()}").exists():
        stale.append(pid)
        yield wrong(f"{pid} names a process that has ended", f"rm {pid}")
    if not stack.is_running and run.exists() and (left := [str(pid) for pid, _, _ in stack.processes()]):
        yield wrong(f"supervisord has ended and left processes behind: {', '.join(left)}", f"make down; {stack.start}")
    if run.exists() and not stale:
        yield right("sockets and pid files: each has its process")


def own_sockets(stack: NativeStack) -> set[str]:
    """Return the names of a running stack's sockets. Another check finds an instance that does not answer."""
    if not stack.is_running:
        return set()
    workers = int(stack.variables["CORES"])
    return {name for instance in stack.instances for name in (instance.name, *instance.sockets(workers))}


def refuses(path: Path) -> bool:
    try:
        unix_socket(path).close()
    except ConnectionRefusedError:
        return True
    return False


def settings(stack: NativeStack) -> Findings:
    found = faults()
    for fault in found:
        yield wrong(fault, f"edit {ENV_FILE}; .env.example explains it")
    if not found:
        yield right("settings: all are well-formed")


def secrets(stack: NativeStack) -> Findings:
    if not stack.instances:
        return
    known = {name: value for name, value in stack.secrets().items() if value}
    if not known:
        yield unknown(f"secrets: there are none yet; `{stack.start}` makes them")
        return
    found = [fault for name, value in known.items() if (fault := weakness(name, value))]
    for fault in found:
        new = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        yield wrong(fault, f"make one: {new}; .env.example says how to replace it")
    if not found:
        yield right(f"secrets: long and random ({', '.join(known)})")


def weakness(name: str, value: str) -> str:
    """Return why a secret is easy to guess, without any of it; empty if it is not."""
    # Several keys are `id:secret,id:secret`.
    each = [pair.partition(":")[2] for pair in value.split(",")] if name.endswith("_KEYS") else [value]
    shortest = SHORTEST.get(name, SHORTEST_PASSWORD)
    for secret in each:
        if len(secret) < shortest:
            return f"{name} has {len(secret)} characters: should be at least {shortest}"
        if len(set(secret)) < FEWEST:
            return f"{name} has {len(set(secret))} different characters: should be at least {FEWEST}"
        if any(word in secret.lower() for word in WORDS):
            return f"{name} contains a word that is guessed first: should be random"
    return ""


def certificate(stack: NativeStack) -> Findings:
    if stack.setting("TLS") != "on" or "nginx" not in stack.services:
        return
    if stack.setting("ACME_EMAIL"):
        yield from certificate_of_authority(stack)
        return
    files = dict(zip(("TLS_CERTIFICATE", "TLS_KEY"), stack.certificate(), strict=True))
    if missing := [name for name, path in files.items() if not Path(path).is_file()]:
        for name in missing:
            yield wrong(f"{name} is {files[name]!r}: there is no such file", f"set {name} to the path of a PEM file")
        return
    path, key = map(Path, files.values())
    if key.stat().st_mode & 0o007:
        yield wrong(f"{key}: other users may read it ({stat.filemode(key.stat().st_mode)})", f"chmod o= {key}")
    if not shutil.which("openssl"):
        yield unknown("certificate: openssl is not installed")
        return
    yield from expiry(path, f"replace {path} by a new one, then `{stack.start}`")
    if why := why_no_pair(path, key):
        yield wrong(*why.split(": ", 1) if ": " in why else (why, "replace both"))
    for name in filter(is_public, stack.setting("ALLOWED_HOSTS").split(",")):
        kind = "-checkip" if ip_address(name) else "-checkhost"
        if "NOT" in openssl("x509", path, "-noout", kind, name.lstrip(".")):
            yield wrong(
                f"certificate: not valid for {name}", f"get one for {name}, or remove {name} from ALLOWED_HOSTS"
            )


def certificate_of_authority(stack: NativeStack) -> Findings:
    """The certificate that certbot renews, in nginx's container."""
    text, remedy = stack.acme_certificate(), "make logs shows what the certificate authority answers to certbot"
    if not text or not shutil.which("openssl"):
        yield unknown("certificate: it takes the running stack, and openssl")
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(text)
        file.flush()
        if "self-signed" in openssl("x509", Path(file.name), "-noout", "-subject"):
            yield wrong("certificate: self-signed, because the certificate authority has issued none yet", remedy)
        else:
            yield from expiry(Path(file.name), remedy)


def expiry(path: Path, renew: str) -> Findings:
    ends = ssl.cert_time_to_seconds(openssl("x509", path, "-noout", "-enddate").strip().partition("=")[2])
    days, day = (ends - time.time()) / 86400, time.strftime("%d %b %Y", time.gmtime(ends))
    if days < 0:
        yield wrong(f"certificate: expired on {day}", renew)
    elif days < CERTIFICATE_DAYS:
        yield soon(f"certificate: expires on {day}, in {days:.0f} days", renew)
    else:
        yield right(f"certificate: valid until {day}, {days:.0f} days")


def openssl(command: str, path: Path, *words: str) -> str:
    done = subprocess.run(["openssl", command, "-in", path, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"openssl cannot read {path}")
    return done.stdout


def ip_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


def is_public(name: str) -> bool:
    """Return whether a certificate authority could issue a certificate for a name."""
    known = ip_address(name)
    return name not in ("localhost", "*") and not (known and known.is_loopback)
