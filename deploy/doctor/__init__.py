"""What is wrong with this machine or the stack on it, and how to mend it: `make doctor`. It looks, and changes nothing.

Python's packages may be what is missing: where one is needed it is imported there, and a check that cannot be made says
so. On a host deploy/vm/host.py runs the same checks.
"""

import ctypes
import http.client
import ipaddress
import os
import re
import resource
import shutil
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from deploy import env, roll
from deploy.docker import stack as containers
from deploy.env import ENV_FILE, PROJECT, VAR, setting
from deploy.instance import INSTANCES, LISTEN, members, unix_socket, why_not_ready
from deploy.native import preflight
from deploy.terminal import Failed, readable

MARKS = {"✓": "right", "!": "wrong soon", "✗": "wrong", "·": "not looked at"}
# Seconds. The api takes a token that the site's clock dates up to 5 s ahead (tornado_api/auth.py).
CLOCK = 2
INODES = 0.05
# It is there where systemd is what runs the system.
SYSTEMD = Path("/run/systemd/system")
# nginx's own queue, where its files do not set one.
NGINX_LISTEN = 511
CERTIFICATE_DAYS = 30
# What `make secrets` and `make up` make is longer; the applications refuse what is shorter than the first two.
SHORTEST = {"SECRET_KEY": 50, "TOKEN_KEYS": 32, "POSTGRES_PASSWORD": 16, "REDIS_PASSWORD": 16}
DIFFERENT = 10
WORDS = ("secret", "passw", "insecure", "changeme", "change-me", "example", "123456", "qwerty", "abcdef")


class Finding(NamedTuple):
    mark: str
    what: str
    remedy: str = ""


Findings = Iterator[Finding]


def right(what: str) -> Finding:
    return Finding("✓", what)


def wrong(what: str, remedy: str) -> Finding:
    return Finding("✗", what, remedy)


def unknown(what: str) -> Finding:
    return Finding("·", what)


class Native:
    """Where it looks: at the stack on this machine itself; what other kinds of stack have otherwise, they say."""

    name = "native"
    var = VAR
    parts: Sequence[str] = ("nginx", *INSTANCES)
    start = "make up"
    private = (ENV_FILE, *(VAR / name for name in ("environment", "db.sqlite3", "run", "log", "supervisor", "media")))

    @cached_property
    def running(self) -> bool:
        return preflight.is_up()

    @cached_property
    def variables(self) -> dict[str, str]:
        """As what runs has them: of the last `make up`."""
        from dotenv import dotenv_values

        return {name: value or "" for name, value in dotenv_values(self.var / "environment").items()}

    def places(self) -> Iterator[tuple[str, str]]:
        """Address and port of each that nginx is to listen on."""
        yield setting("ADDRESS"), setting("PORT")
        if setting("TLS") == "on":
            yield setting("ADDRESS"), setting("PLAIN_PORT")

    def listens(self, process: int) -> bool:
        """It is this stack's nginx."""
        return self.running and os.path.realpath(f"/proc/{process}/cwd") == str(self.var)

    def disks(self) -> list[Path]:
        return [self.var, Path("/")]

    def python(self) -> str:
        own = preflight.VENV / "bin/python"
        return str(own) if own.exists() else preflight.suitable_python()

    def uv(self) -> Path:
        return preflight.VENV / "bin/uv"

    def machine(self) -> Findings:
        yield from python(self)
        yield from nginx()
        yield from packages(self)

    def processes(self) -> Iterator[tuple[int, int, str]]:
        """Pid, parent and name of each that is this stack's, whoever started it."""
        from deploy.native.stack import Stack

        if not self.variables:
            return
        for process in Stack(self.variables).all_processes():
            yield process.pid, process.ppid(), process.name()

    def files_allowed(self) -> Findings:
        """To this shell, whose limit is that of what it starts."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        part, need = max(files_needed().items(), key=lambda item: item[1])
        said = f"open files: this shell may have {most}, {part} needs {need}"
        if most == resource.RLIM_INFINITY or most >= need:
            yield right(said)
        else:
            limits = f"echo '* - nofile {need}' | sudo tee /etc/security/limits.d/stack.conf"
            yield wrong(said, f"{limits}; then log in anew, and `make down up`")

    def somaxconn(self) -> str:
        return Path("/proc/sys/net/core/somaxconn").read_text()

    def secrets(self) -> dict[str, str]:
        found = {name: setting(name) for name in ("SECRET_KEY", "TOKEN_KEYS")}
        return found | url_passwords(setting("DATABASE_URL"), setting("REDIS_URL"))

    def certificate(self) -> tuple[str, str]:
        return setting("TLS_CERTIFICATE"), setting("TLS_KEY")

    def why_not_ready(self, part: str) -> str:
        return why_not_ready(self.var / "run", part, int(self.variables["CORES"]))

    def is_in(self, instance: str) -> bool:
        return roll.is_in(self.var / "run", instance)

    def tail(self, part: str) -> str:
        log = self.var / f"log/{part}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def restart(self, part: str) -> str:
        return f"make restart APP={part.partition('-')[0]}"

    def logs(self, part: str) -> str:
        return f"make logs APP={part}"

    def url(self, name: str) -> str:
        return setting(name)

    def faults(self) -> list[str]:
        return env.faults()

    def manage(self, *words: str) -> str:
        from deploy.native.stack import manage

        # Not as root: SQLite's own files beside the database would be root's.
        owner = self.var.stat()
        other = os.geteuid() == 0 and owner.st_uid != 0
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if other else {}
        return manage(self.variables, *words, **account)


class Containers(Native):
    name = "compose"
    private = (ENV_FILE, containers.SECRETS)

    def __init__(self) -> None:
        self.stack = containers.Stack()

    @cached_property
    def running(self) -> bool:
        return bool(containers.engine()[0]) and any(map(self.stack.running, self.parts))

    def listens(self, process: int) -> bool:
        return self.running and self.stack.running("nginx")

    def disks(self) -> list[Path]:
        engine = containers.output("docker", "info", "--format", "{{.DockerRootDir}}", timeout=10)
        return [*super().disks(), *([Path(engine)] if engine else [])]

    def machine(self) -> Findings:
        versions, why = containers.engine()
        install = "https://docs.docker.com/engine/install/; or do without: make up STACK=native"
        yield right(versions) if versions else wrong(why, install)

    # Both limits are in docker-compose.yml.
    def files_allowed(self) -> Findings:
        yield from ()

    def processes(self) -> Iterator[tuple[int, int, str]]:
        yield from ()

    def somaxconn(self) -> str:
        """A container has its own."""
        container = self.stack.container("site-a") if self.running else None
        if not container:
            raise Failed("nothing runs, and a container has its own")
        return containers.output("docker", "exec", container["Id"], "cat", "/proc/sys/net/core/somaxconn")

    def secrets(self) -> dict[str, str]:
        return {name: setting(name) for name in env.SECRETS}

    def why_not_ready(self, part: str) -> str:
        return self.stack.why_not_ready(part)

    def is_in(self, instance: str) -> bool:
        return self.stack.is_in(instance)

    def tail(self, part: str) -> str:
        return containers.tail(self.stack.container(part))

    def manage(self, *words: str) -> str:
        return self.stack.compose("exec", "-T", "site-a", "python", "django_site/manage.py", *words)


def url_passwords(database: str, redis: str) -> dict[str, str]:
    return {"POSTGRES_PASSWORD": password(database), "REDIS_PASSWORD": password(redis)}


def password(url: str) -> str:
    return unquote(urlsplit(url).password or "")


# The machine


def python(place: Native) -> Findings:
    oldest, newest = (".".join(map(str, version)) for version in (preflight.OLDEST, preflight.NEWEST))
    found = place.python()
    if not found:
        yield wrong(f"no Python from {oldest} to {newest}", f"sudo apt-get install python{newest} python{newest}-venv")
    elif not preflight.suitable(found):
        yield wrong(f"{found} is none from {oldest} to {newest}", f"rm -r {preflight.VENV}; {place.start}")
    else:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        yield right(f"{version}, {found}")


def nginx() -> Findings:
    if version := preflight.nginx_version():
        yield right(f"{version}, with its brotli module")
    else:
        install = f"sudo apt-get install {' '.join(preflight.NGINX_PACKAGES)}"
        yield wrong("nginx or its brotli module is missing", f"{install}; or make up, which does that")


def packages(place: Native) -> Findings:
    if not place.uv().exists():
        yield unknown(f"Python packages: nothing is installed yet; `{place.start}` does that")
        return
    check = ["sync", "--frozen", "--check", "--offline", "--no-cache", "--no-dev", "--inexact"]
    done = subprocess.run([place.uv(), *check], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield right("Python packages as in uv.lock")
    elif other := re.findall(r"^ [+~] (\S+)", done.stderr, re.M):
        yield wrong(f"Python packages are not as in uv.lock: {', '.join(other)}", place.start)
    else:
        yield wrong(f"uv.lock: {done.stderr.strip().splitlines()[-1]}", f"git checkout uv.lock; {place.start}")


def machine(place: Native) -> Findings:
    yield from place.machine()


def clock(_: Native) -> Findings:
    """Set by a time server, as the kernel knows it: adjtimex(2) says 5, TIME_ERROR, when nobody has set it lately."""
    if clock_state() not in (-1, 5):
        yield right("clock: set by a time server")
    elif SYSTEMD.is_dir() and not container():
        yield wrong(
            "clock: no time server sets it, and tokens are good for minutes",
            "sudo apt-get install systemd-timesyncd && sudo timedatectl set-ntp true",
        )
    else:
        yield unknown("clock: whether something sets it; that is not this system's to do")


def clock_state() -> int:
    # The structure, of which nothing is asked for or read, has 208 bytes.
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)))


def container() -> bool:
    """This system is one, whose clock is its host's."""
    return subprocess.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode == 0


def disk(place: Native) -> Findings:
    seen = set()
    for path in place.disks():
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        if there.stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        figures = os.statvfs(there)
        free = figures.f_bavail * figures.f_frsize
        # Not all file systems count them.
        inodes = figures.f_favail / figures.f_files if figures.f_files else 1
        said = f"disk of {there}: {free / 1e9:.1f} GB free, {inodes:.0%} of its inodes"
        if free >= preflight.FREE_DISK and inodes >= INODES:
            yield right(said)
        else:
            need = f"{preflight.FREE_DISK / 1e9:.0f} GB and {INODES:.0%} are needed"
            what = "--inodes" if inodes < INODES else "--human-readable"
            yield wrong(f"{said}; {need}", f"delete what is not needed: sudo du -x {what} {there} | sort -h | tail")


def port(place: Native) -> Findings:
    for address, number in place.places():
        said = f"port {number} of {address}"
        why = preflight.why_taken(address, number)
        if not why:
            yield right(f"{said}: free")
            continue
        who = listening(number)
        if any(map(place.listens, who)) or (not who and place.running):
            yield right(f"{said}: this stack's nginx")
        elif who:
            names = ", ".join(f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})" for pid in who)
            yield wrong(f"{said}: taken by {names}", f"kill {' '.join(map(str, who))}; or another: make up PORT=8001")
        else:
            tells = f"by whom: sudo ss -ltnp 'sport = :{number}'"
            yield wrong(f"{said}: {why}", f"{tells}; or another: make up PORT=8001")


def listening(number: str) -> list[int]:
    """Pids of those that listen on a port, as far as one may know."""
    if not shutil.which("ss"):
        return []
    command = ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", f"sport = :{number}"]
    said = containers.output(*command)
    return sorted(set(map(int, re.findall(r"pid=(\d+)", said))))


# Limits


def files_needed() -> dict[str, int]:
    """Open files that each of what serves asks for."""
    from tornado_api.limits import MAX_WATCHERS

    found = {"gunicorn": 2 * MAX_WATCHERS}
    for program, path, line in (
        ("nginx", "nginx/nginx.conf", r"^worker_rlimit_nofile (\d+);"),
        ("uwsgi", "deploy/uwsgi/site.ini", r"^max-fd = (\d+)"),
    ):
        [figure] = re.findall(line, (PROJECT / path).read_text(), re.M)
        found[program] = int(figure)
    return found


def open_files(place: Native) -> Findings:
    yield from place.files_allowed()
    if not place.running:
        return
    processes = list(place.processes())
    masters = {pid: name for pid, _, name in processes}
    for program, need in files_needed().items():
        # Workers: a master raises no limit of its own.
        workers = [pid for pid, parent, name in processes if name == program == masters.get(parent)]
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid in workers]
        allowed = [re.findall(r"^Max open files +(\S+)", limit, re.M)[0] for limit in limits]
        low = [int(each) for each in allowed if each != "unlimited" and int(each) < need]
        said = f"open files: {program}'s workers may have {min(low, default=need)}"
        if low:
            yield wrong(f"{said}, and need {need}", "make down up, from a shell that may have as many: ulimit -Hn")
        elif workers:
            yield right(f"{said}, as they need")


def somaxconn(place: Native) -> Findings:
    allowed = int(place.somaxconn())
    remedy = "echo net.core.somaxconn=4096 | sudo tee /etc/sysctl.d/60-stack.conf && sudo sysctl --system"
    for program, need, otherwise in (
        ("nginx", NGINX_LISTEN, "a burst of connections is cut"),
        ("site", LISTEN, "uWSGI refuses to start"),
    ):
        if any(part.startswith(program) for part in place.parts):
            said = f"net.core.somaxconn: {allowed}, {program} listens with {need}"
            yield right(said) if allowed >= need else wrong(f"{said}: {otherwise}", remedy)


# Files


def permissions(place: Native) -> Findings:
    found = [path for path in place.private if path.exists()]
    opened = [path for path in found if path.stat().st_mode & 0o007]
    for path in opened:
        yield wrong(f"{path} may be read by others: {stat.filemode(path.stat().st_mode)}", f"chmod -R o= {path}")
    if found and not opened:
        yield right(f"permissions: nobody else may read {', '.join(path.name for path in found)}")
    for path in (ENV_FILE, place.var):
        if path.exists() and os.geteuid() not in (0, path.stat().st_uid):
            # To whom `make up` gives var/ when root runs it.
            who = "root" if path.owner() == "www-data" else path.owner()
            take = f"make down as {who}, then: sudo chown -R {os.geteuid()}: {path}"
            yield wrong(f"{path} is {path.owner()}'s, not yours", f"go on as {who}; or {take}")
        elif path.exists() and not os.access(path, os.W_OK):
            yield wrong(f"{path} may not be written to", f"chmod u+rwX {path}")


def left_behind(place: Native) -> Findings:
    """What a process that was killed leaves: sockets, a pid file, and those that it had started."""
    if isinstance(place, Containers):
        return
    run = place.var / "run"
    # Of a stack that runs, those of its own instances are no leftovers, whether they answer or not.
    workers = int(place.variables["CORES"]) if place.running else 0
    own = [member for part in place.parts for member in members(part, workers) if place.running]
    paths = [path for path in sorted(run.glob("*")) if path.name.partition(".")[0] not in own]
    stale = [path for path in (*paths, place.var / "supervisor/supervisord.sock") if path.is_socket() and refuses(path)]
    if stale:
        names = " ".join(map(str, stale))
        yield wrong(f"nobody listens on {names}", f"rm {names}")
    if (pid := run / "nginx.pid").exists() and not Path(f"/proc/{pid.read_text().strip()}").exists():
        stale.append(pid)
        yield wrong(f"{pid} names a process that is not there", f"rm {pid}")
    if not place.running and run.exists() and (left := [str(pid) for pid, _, _ in place.processes()]):
        yield wrong(f"supervisord is gone and left processes behind: {', '.join(left)}", f"make down; {place.start}")
    if run.exists() and not stale:
        yield right("sockets and pid files: somebody is behind each")


def refuses(path: Path) -> bool:
    try:
        unix_socket(path).close()
    except ConnectionRefusedError:
        return True
    return False


def settings(place: Native) -> Findings:
    found = place.faults()
    for fault in found:
        yield wrong(fault, f"edit {ENV_FILE}; .env.example explains it")
    if not found:
        yield right("settings: none is malformed")


def secrets(place: Native) -> Findings:
    if not set(place.parts) - {"nginx"}:
        return
    known = {name: value for name, value in place.secrets().items() if value}
    if not known:
        yield unknown(f"secrets: there are none yet; `{place.start}` makes them")
        return
    faults = [fault for name, value in known.items() if (fault := weakness(name, value))]
    for fault in faults:
        new = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        yield wrong(fault, f"{new} makes one; .env.example says how to replace it")
    if not faults:
        yield right(f"secrets: long and random ({', '.join(known)})")


def weakness(name: str, value: str) -> str:
    """What makes a secret easy to guess, without a word of it; empty if nothing does."""
    each = [part.partition(":")[2] for part in value.split(",")] if name == "TOKEN_KEYS" else [value]
    for secret in each:
        if len(secret) < SHORTEST[name]:
            return f"{name} is too short: {len(secret)} characters, {SHORTEST[name]} are the least"
        if len(set(secret)) < DIFFERENT:
            return f"{name} has only {len(set(secret))} different characters, {DIFFERENT} are the least"
        if any(word in secret.lower() for word in WORDS):
            return f"{name} has a word in it that is guessed first"
    return ""


def certificate(place: Native) -> Findings:
    if setting("TLS") != "on" or "nginx" not in place.parts:
        return
    files = place.certificate()
    if missing := [path for path in files if not Path(path).is_file()]:
        yield wrong(f"certificate: there is no file {missing[0]!r}", "TLS_CERTIFICATE and TLS_KEY name PEM files")
        return
    path, key = map(Path, files)
    if key.stat().st_mode & 0o007:
        yield wrong(f"{key} may be read by others: {stat.filemode(key.stat().st_mode)}", f"chmod o= {key}")
    if not shutil.which("openssl"):
        yield unknown("certificate: there is no openssl to read it")
        return
    ends = ssl.cert_time_to_seconds(openssl("x509", path, "-noout", "-enddate").strip().partition("=")[2])
    days, day = (ends - time.time()) / 86400, time.strftime("%d %b %Y", time.gmtime(ends))
    renew = f"renew it: put the new one in {path}, and `{place.start}`"
    if days < 0:
        yield wrong(f"certificate: it ended on {day}", renew)
    elif days < CERTIFICATE_DAYS:
        yield Finding("!", f"certificate: it ends on {day}, in {days:.0f} days", renew)
    else:
        yield right(f"certificate: until {day}, {days:.0f} days")
    if openssl("x509", path, "-noout", "-pubkey") != openssl("pkey", key, "-pubout"):
        yield wrong(f"{key} is not the key of {path}", "put there the two that were made together")
    for name in filter(public, setting("ALLOWED_HOSTS").split(",")):
        kind = "-checkip" if address(name) else "-checkhost"
        if "NOT" in openssl("x509", path, "-noout", kind, name.lstrip(".")):
            yield wrong(f"certificate: it is not for {name}", "get one that is, or take the name out of ALLOWED_HOSTS")


def openssl(command: str, path: Path, *words: str) -> str:
    done = subprocess.run(["openssl", command, "-in", path, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"openssl cannot read {path}")
    return done.stdout


def address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


def public(name: str) -> bool:
    """No certificate of an authority has those of this machine alone."""
    known = address(name)
    return name not in ("localhost", "*") and not (known and known.is_loopback)


# Servers


def data(place: Native) -> Findings:
    """Database and Redis: that they answer, and that their clocks are this machine's."""
    if isinstance(place, Containers):
        return
    for name, ask in (("DATABASE_URL", database_time), ("REDIS_URL", redis_time)):
        url = place.url(name)
        if not url.startswith(("postgresql:", "redis:", "rediss:")):
            continue
        where, before = urlsplit(url).hostname, time.time()
        try:
            theirs = ask(url)
        except ImportError:
            yield unknown(f"{name}: Python's packages are not installed")
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            if (secret := password(url)) and secret in said:
                said = type(error).__name__
            yield wrong(f"{name}: {where} does not answer: {said}", f"start it, or mend {name}")
        else:
            off = max(before - theirs, theirs - time.time(), 0)
            said = f"{name}: {where} answers, its clock is {off:.1f} s off this one"
            yield right(said) if off <= CLOCK else wrong(said, "on both machines: sudo timedatectl set-ntp true")


def database_time(url: str) -> float:
    import psycopg

    with psycopg.connect(url, connect_timeout=3) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float").fetchone()
    assert row
    return float(row[0])


def redis_time(url: str) -> float:
    import redis

    with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as connection:
        seconds, microseconds = connection.time()
    return float(seconds) + float(microseconds) / 1e6


def migrations(place: Native) -> Findings:
    if not any(part.startswith("site") for part in place.parts):
        return
    if not place.running:
        yield unknown("migrations: nothing runs")
        return
    plan = place.manage("showmigrations", "--plan")
    if missing := re.findall(r"^\[ \]  (\S+)", plan, re.M):
        yield wrong(f"migrations not applied: {', '.join(missing)}", place.start)
    else:
        yield right(f"migrations: all {plan.count('[X]')} applied")


def instances(place: Native) -> Findings:
    if not place.running:
        yield unknown(f"instances: nothing runs; `{place.start}` starts it")
        return
    for part in place.parts:
        remedy = ""
        said = [why] if (why := place.why_not_ready(part)) else []
        if said:
            end = [readable(line) for line in place.tail(part).splitlines()[-5:]]
            remedy = "\n".join((f"{place.start}; {place.logs(part)} has more than this:", *end))
        if part != "nginx" and not place.is_in(part):
            said.append("nginx sends it nothing")
            remedy = remedy or place.restart(part)
        yield wrong(f"{part}: {'; '.join(said)}", remedy) if said else right(f"{part}: ready")


def front_door(place: Native) -> Findings:
    """As a client comes: by nginx's port, with a name that it lets in."""
    if not place.running or "nginx" not in place.parts:
        return
    name = setting("ALLOWED_HOSTS").split(",")[0].lstrip(".")
    where, number = next(place.places())
    where = "127.0.0.1" if where == "0.0.0.0" else where  # noqa: S104
    connection = http.client.HTTPConnection(where, int(number), timeout=10)
    if setting("TLS") == "on":
        # The certificate has a check of its own.
        anyone = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(where, int(number), timeout=10, context=anyone)
    began = time.monotonic()
    said = f"GET / of {name} at {where}:{number}"
    try:
        connection.request("GET", "/", headers={"Host": name})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        yield wrong(f"{said}: {error or type(error).__name__}", f"{place.start}; {place.logs('nginx')}")
        return
    finally:
        connection.close()
    if status >= 500 or status == 400:
        yield wrong(f"{said}: {status}", f"{place.start}; {place.logs('nginx')}")
    else:
        yield right(f"{said}: {status} after {time.monotonic() - began:.2f} s")


CHECKS: tuple[Callable[[Native], Findings], ...] = (
    machine,
    clock,
    disk,
    port,
    open_files,
    somaxconn,
    permissions,
    left_behind,
    settings,
    secrets,
    certificate,
    data,
    migrations,
    instances,
    front_door,
)


def look(place: Native) -> Findings:
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            yield from check(place)
        except ImportError:
            yield unknown(f"{name}: Python's packages are not installed; `{place.start}` does that")
        except (Failed, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            yield unknown(f"{name}: {last(error)}")


def last(error: Exception) -> str:
    """The line of it that says what is wrong."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def show(findings: Findings) -> int:
    """Prints each as it is found; how many are wrong."""
    marks = []
    for finding in findings:
        print(f"  {finding.mark} {finding.what}", flush=True)
        for line in finding.remedy.splitlines():
            print(f"    {line}")
        marks.append(finding.mark)
    print(", ".join(f"{marks.count(mark)} {word}" for mark, word in MARKS.items() if mark in marks or mark in "✓✗"))
    return marks.count("✗")


def main(stack: str) -> None:
    place = Containers() if stack == "compose" else Native()
    print(f"Doctor: {place.name}, {place.var}", flush=True)
    raise SystemExit(1 if show(look(place)) else 0)


if __name__ == "__main__":
    main(sys.argv[1])
