"""`make doctor` on a healthy stack, and on one with each fault: its output has the command that fixes it."""

import os
import re
import signal
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from deploy.core.apps import APPS, INSTANCES, django
from deploy.core.console import readable
from deploy.core.probe import put_in_rotation, take_out_of_rotation
from deploy.core.settings import SECRETS, is_secret, parse
from deploy.doctor.limits import LISTEN_QUEUES, OPEN_FILES
from tests.faults import self_signed
from tests.servers import free_port, postgresql, program, redis
from tests.stacks import NativeStack, copied, edited

MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("{app}", "{last}")]
    operations = []
"""
KINDS = {app.server.kind for app in APPS.values() if app.server.kind in OPEN_FILES}
FIRST, *_, LAST = (name for name, instance in INSTANCES.items() if instance.server.listens)


@pytest.fixture
def fresh(tmp_path: Path) -> NativeStack:
    """A stack that has never run."""
    return NativeStack(tmp_path)


def find_faults(stack: NativeStack, **variables: str) -> str:
    """Run `make doctor`, which must find a fault. Return its output."""
    done = stack.make("doctor", **variables)
    assert done.returncode, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def find_no_faults(stack: NativeStack, **variables: str) -> str:
    """Run `make doctor`, which must find no fault. Return its output."""
    done = stack.make("doctor", **variables)
    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    return done.stdout


def remedy_of(said: str, what: str) -> str:
    """Return the line below the finding that matches."""
    found = re.search(rf"^  ✗ .*{what}.*\n    (.+)$", said, re.M)
    assert found, said
    return found[1]


def times_of_files(folder: Path) -> dict[Path, int]:
    """Return the time at which each file was changed. The apps write metrics all the time, so those are left out."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if "metrics" not in path.parts}


def run(command: str) -> None:
    subprocess.run(command, shell=True, check=True)  # noqa: S602


def test_a_healthy_stack(copy: NativeStack) -> None:
    before = times_of_files(copy.var / "run")
    logs = {app: copy.read_logs(app) for app in APPS}
    said = find_no_faults(copy)
    for line in (
        "Python 3.*",
        "nginx/.* brotli module",
        "Python packages match uv.lock",
        "disk of .* GB .*",
        f"port {copy.port} .*: this stack's nginx",
        "open files: this shell .*",
        *(f"open files: {kind}'s workers may have .*" for kind in ("nginx", *KINDS)),
        r"net.core.somaxconn: \d+, nginx .*",
        "permissions: .*env, environment, db.sqlite3.*",
        "sockets and pid files: .*",
        "settings: .*",
        "secrets: .*SECRET_KEY.*",
        *([r"migrations: all \d+ applied"] if django() else []),
        *(f"{service}: ready" for service in ("nginx", *INSTANCES)),
        "GET / of localhost .*",
    ):
        assert re.search(rf"^  ✓ {line}$", said, re.M), (line, said)
    assert set(re.findall("^  · (.*?):", said, re.M)) <= {"clock"}
    assert re.search(r"^\d+ passed, 0 failed", said, re.M)
    for name, secret in parse((copy.var.parent / "env").read_text()).items():
        assert not (is_secret(name) and secret and secret in said)
    assert times_of_files(copy.var / "run") == before
    for app, old in logs.items():
        for now, then in zip(copy.read_logs(app), old, strict=True):
            # The doctor's own request through nginx.
            assert [line for line in now[len(then) :] if "GET / " not in line] == []


def test_before_the_first_make_up(fresh: NativeStack, tmp_path: Path) -> None:
    said = find_no_faults(fresh)
    assert "· services: nothing is running; `make up` starts them" in said
    assert f"✓ port {fresh.port} of 127.0.0.1: free" in said
    assert not list(tmp_path.iterdir())


def test_before_anything_is_installed(fresh: NativeStack) -> None:
    with copied() as project, socket.create_server(("127.0.0.1", fresh.port)):
        (project / ".venv").unlink()
        fresh.project = project
        said = find_faults(fresh)
        assert "· Python packages: nothing is installed yet; `make up` installs them" in said
        assert f"(pid {os.getpid()})" in said
        assert not (project / ".venv").exists()


def test_a_port_that_another_process_has(fresh: NativeStack) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)):
        said = find_faults(fresh)
    remedy = remedy_of(said, rf"port {fresh.port} .*taken by \S+ \(pid")
    assert remedy == f"kill {os.getpid()}; or choose another port: make up PORT=8001"


def test_private_files_that_others_may_read(copy: NativeStack) -> None:
    for path in (copy.var.parent / "env", copy.var / "log"):
        path.chmod(0o755)
        remedy = remedy_of(find_faults(copy), rf"{path}: other users may read it \(.rwxr-xr-x\)")
        assert remedy == f"chmod -R o= {path}"
        run(remedy)
    find_no_faults(copy)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_files_of_another_user(copy: NativeStack) -> None:
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "make", "--no-print-directory"]
    done = subprocess.run(
        [*command, "doctor"], cwd=copy.project, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode, done.stdout
    remedy = remedy_of(done.stdout, f"{copy.var} belongs to www-data, not to you")
    assert re.fullmatch(rf"continue as root; or make down as root, then: sudo chown -R \d+: {copy.var}", remedy)
    assert f"· settings: Permission denied: {copy.var.parent}/env" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unknown_target(fresh: NativeStack) -> None:
    assert "STACK is 'both': should be compose or native" in find_faults(fresh, STACK="both")


def test_a_stale_socket(copy: NativeStack) -> None:
    path = copy.var / f"run/{INSTANCES[FIRST].app.name}-z.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
        find_no_faults(copy)
    remedy = remedy_of(find_faults(copy), f"no process listens on {path}")
    run(remedy)
    assert not path.exists()
    find_no_faults(copy)


def test_a_stale_pid_file(fresh: NativeStack) -> None:
    path = fresh.var / "run/nginx.pid"
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    path.write_text(f"{gone.pid}\n")
    run(remedy_of(find_faults(fresh), f"{path} names a process that has ended"))
    find_no_faults(fresh)


@pytest.mark.skipif(not django(), reason="no app has migrations")
def test_a_migration_that_is_not_applied(copy: NativeStack) -> None:
    app = django()
    assert app
    first = min((copy.project / app.source[0]).glob("*/migrations/0*.py"))
    last = max(first.parent.glob("0*.py"))
    name = first.parent.parent.name
    file = first.with_name("0099_later.py")
    file.write_text(MIGRATION.format(app=name, last=last.stem))
    try:
        assert remedy_of(find_faults(copy), f"migrations not applied: {name}.0099_later") == "make up"
    finally:
        file.unlink()


@pytest.mark.parametrize("instance", [FIRST, LAST])
def test_an_instance_that_does_not_run(copy: NativeStack, instance: str) -> None:
    copy.stop(instance)
    try:
        said = find_faults(copy)
        assert "no process listens" not in said
        assert remedy_of(said, f"{instance}: {instance}.* answers nothing").startswith(
            f"make up; make logs APP={instance} "
        )
        end = (copy.var / f"log/{instance}.log").read_text().splitlines()[-1]
        assert f"\n    {readable(end)}\n" in said
    finally:
        copy.up()
    find_no_faults(copy)


def test_an_instance_out_of_rotation(copy: NativeStack) -> None:
    take_out_of_rotation(copy.var / "run", LAST)
    try:
        restart = f"make restart APP={INSTANCES[LAST].app.name}"
        assert remedy_of(find_faults(copy), f"{LAST}: out of rotation, so nginx sends it nothing") == restart
    finally:
        put_in_rotation(copy.var / "run", LAST)


def test_nginx_that_does_not_answer(copy: NativeStack) -> None:
    nginx = psutil.Process(copy.pids()["nginx"])
    family = [nginx, *nginx.children()]
    for process in family:
        process.suspend()
    try:
        said = find_faults(copy)
        assert remedy_of(said, "nginx: it does not answer").startswith("make up; make logs APP=nginx ")
        assert remedy_of(said, rf"GET / of localhost at 127.0.0.1:{copy.port}: timed out")
    finally:
        for process in family:
            process.resume()


def test_packages_that_differ_from_the_lock(copy: NativeStack) -> None:
    lock = (copy.project / "uv.lock").read_text()
    [version] = re.findall(r'^name = "redis"\nversion = "(.+)"', lock, re.M)
    name, other = 'name = "redis"\nversion = ', f"redis-{version}-py3"
    with (
        edited(copy, "uv.lock", f'{name}"{version}"', f'{name}"8.0.99"'),
        edited(copy, "uv.lock", other, other.replace(version, "8.0.99")),
    ):
        assert remedy_of(find_faults(copy), r"Python packages differ from uv.lock: redis==8\.0\.99$") == "make up"
    with edited(copy, "uv.lock", "version = 1", "version = one"):
        assert remedy_of(find_faults(copy), "uv.lock: .*") == "git checkout uv.lock; make up"


def test_too_few_open_files(copy: NativeStack) -> None:
    command = "ulimit -n 1000 && exec make --no-print-directory doctor"
    done = subprocess.run(
        ["sh", "-c", command], cwd=copy.project, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode, done.stdout
    assert "limits.d" in remedy_of(done.stdout, "open files: this shell may have 1000, nginx needs 20000")

    for kind in KINDS:
        instance = next(instance for instance in INSTANCES.values() if instance.server.kind == kind)
        need = OPEN_FILES[kind]
        [worker, *_] = psutil.Process(copy.pids()[instance.name]).children()
        limit(worker, "1000:")
        try:
            fault = f"open files: {kind}'s workers may have 1000, each needs {need}"
            assert "make down up" in remedy_of(find_faults(copy), fault)
        finally:
            limit(worker, f"{need}:")


def limit(process: psutil.Process, files: str) -> None:
    """Set the soft limit of open files, as the process's own user."""
    account = {"user": process.uids().real, "group": process.gids().real, "extra_groups": []}
    command = ["prlimit", f"--pid={process.pid}", f"--nofile={files}"]
    subprocess.run(command, check=True, **(account if os.geteuid() == 0 else {}))  # type: ignore[call-overload]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a network")
def test_a_queue_longer_than_the_kernel_allows(fresh: NativeStack) -> None:
    command = "echo 600 >/proc/sys/net/core/somaxconn && exec make --no-print-directory doctor"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command],
        cwd=fresh.project,
        env=fresh.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    kinds = {app.server.kind for app in APPS.values() if app.server.kind in LISTEN_QUEUES}
    assert bool(done.returncode) == bool(kinds), done.stdout
    for kind in kinds:
        fault = f"net.core.somaxconn: 600, {kind} needs .*: it refuses to start"
        assert "sysctl" in remedy_of(done.stdout, fault)
    assert "✓ net.core.somaxconn: 600, nginx" in done.stdout


def test_a_secret_that_is_easy_to_guess(fresh: NativeStack) -> None:
    good = {name: SECRETS[name]() for name in ("SECRET_KEY", "TOKEN_KEYS")}
    said = find_faults(fresh, **good | {"SECRET_KEY": "J8s-kWq0"})
    assert "token_urlsafe" in remedy_of(said, "SECRET_KEY has 8 characters: should be at least 50")
    assert "J8s-kWq0" not in said


def test_a_database_that_does_not_answer(fresh: NativeStack) -> None:
    password = SECRETS["POSTGRES_PASSWORD"]()
    urls = {
        "DATABASE_URL": f"postgresql://site:{password}@127.0.0.1:{free_port()}/site",
        "REDIS_URL": f"redis://:{password}@127.0.0.1:{free_port()}/0",
    }
    said = find_faults(fresh, **urls)
    for name in urls:
        assert (
            remedy_of(said, f"{name}: 127.0.0.1 does not answer: .*refused") == f"start the server, or correct {name}"
        )
    assert password not in said


def test_a_database_that_answers(fresh: NativeStack) -> None:
    with postgresql() as database, redis() as bus:
        said = find_no_faults(fresh, DATABASE_URL=database, REDIS_URL=bus)
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert f"✓ {name}: 127.0.0.1 answers, its clock differs by 0.0 s" in said


def test_a_malformed_setting(fresh: NativeStack) -> None:
    assert ".env.example" in remedy_of(find_faults(fresh, CORES="two"), "CORES is 'two': should be a whole number")


CA = """
[ca]
default_ca = own
[own]
database = {0}/index
serial = {0}/serial
new_certs_dir = {0}
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def ending(directory: Path, end: datetime) -> dict[str, str]:
    """Make a certificate with this end, and its key. Return their settings. Only `openssl ca` takes a date."""
    files = self_signed(directory)
    for name, text in (("index", ""), ("serial", "01\n"), ("ca", CA.format(directory))):
        (directory / name).write_text(text)
    openssl, key, certificate = program("openssl", "openssl"), files["TLS_KEY"], files["TLS_CERTIFICATE"]
    request = ["x509", "-x509toreq", "-in", certificate, "-signkey", key, "-out", f"{directory}/request"]
    sign = ["ca", "-batch", "-notext", "-selfsign", "-config", f"{directory}/ca", "-keyfile", key]
    dates = ["-startdate", "20200101000000Z", "-enddate", f"{end:%Y%m%d%H%M%SZ}"]
    for words in (request, [*sign, *dates, "-in", f"{directory}/request", "-out", certificate]):
        subprocess.run([openssl, *words], check=True, capture_output=True)
    return files


def with_tls(files: dict[str, str], **more: str) -> dict[str, str]:
    return {"TLS": "on", "PLAIN_PORT": str(free_port())} | files | more


@pytest.mark.parametrize(
    ("days", "line"),
    [
        (-3, "✗ certificate: expired on {:%d %b %Y}"),
        (20.5, "! certificate: expires on {:%d %b %Y}, in 20 days"),
        (90.5, "✓ certificate: valid until {:%d %b %Y}, 90 days"),
    ],
)
def test_a_certificate_expires(fresh: NativeStack, tmp_path: Path, days: float, line: str) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    said = (find_faults if days < 0 else find_no_faults)(fresh, **with_tls(ending(tmp_path, end)))
    assert f"  {line.format(end)}\n" in said
    assert ("by a new one, then `make up`" in said) == (days < 30)


def test_a_certificate_of_another_key_or_name(fresh: NativeStack, tmp_path: Path) -> None:
    files = self_signed(tmp_path, "192.0.2.7")
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other")
    said = find_faults(fresh, **with_tls(files | {"TLS_KEY": other["TLS_KEY"]}))
    assert "the key that it was made for" in remedy_of(
        said, f"{other['TLS_KEY']} is not the key of {files['TLS_CERTIFICATE']}"
    )
    said = find_faults(fresh, **with_tls(files, ALLOWED_HOSTS="localhost,www.example.com,192.0.2.7,192.0.2.8"))
    assert re.findall(r"✗ certificate: not valid for (.+)", said) == ["www.example.com", "192.0.2.8"]
    Path(files["TLS_KEY"]).chmod(0o644)
    remedy = remedy_of(find_faults(fresh, **with_tls(files)), f"{files['TLS_KEY']}: other users may read it")
    run(remedy)
    assert "other users" not in find_no_faults(fresh, **with_tls(files))


def test_a_supervisord_that_was_killed(copy: NativeStack) -> None:
    """This test comes last: the processes that it leaves have to end before the next `make up`."""
    supervisord, *left = copy.processes()
    supervisord.send_signal(signal.SIGKILL)
    supervisord.wait()
    said = find_faults(copy)
    assert re.search(rf"left processes behind: .*\b{left[0].pid}\b", said), said
    assert remedy_of(said, "no process listens on .*supervisord.sock") == f"rm {copy.var}/supervisor/supervisord.sock"
    assert remedy_of(said, "left processes behind") == "make down; make up"
    assert copy.make("down").returncode == 0
    copy.up()
    find_no_faults(copy)
