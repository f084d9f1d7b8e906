"""`make doctor`: a stack that is well, and each thing that can be wrong with one, with the way to mend it."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from deploy.env import SECRETS
from deploy.roll import take_back, take_out
from tests.servers import free_port, postgresql, program, redis, self_signed
from tests.stacks import NativeStack, copied, edited

MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = []
"""


@pytest.fixture(scope="module")
def copy() -> Iterator[NativeStack]:
    """A running stack of a project whose files may be edited."""
    with copied() as project:
        stack = NativeStack(project.parent, project=project)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


@pytest.fixture
def fresh(tmp_path: Path) -> NativeStack:
    """Where nothing has run yet."""
    return NativeStack(tmp_path)


def sick(stack: NativeStack, **variables: str) -> str:
    """What `make doctor` says of one that is not well."""
    done = stack.make("doctor", **variables)
    assert done.returncode, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def well(stack: NativeStack, **variables: str) -> str:
    done = stack.make("doctor", **variables)
    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    return done.stdout


def mend(said: str, what: str) -> str:
    """The line below one that matches."""
    found = re.search(rf"^  ✗ .*{what}.*\n    (.+)$", said, re.M)
    assert found, said
    return found[1]


def run(command: str) -> None:
    subprocess.run(command, shell=True, check=True)  # noqa: S602


def test_a_stack_that_is_well(copy: NativeStack) -> None:
    before = {path: path.lstat().st_mtime_ns for path in (copy.var / "run").rglob("*")}
    logs = {log: copy.read_logs(log) for log in ("site", "api")}
    said = well(copy)
    for line in (
        "Python 3.*",
        "nginx/.* brotli module",
        "Python packages as in uv.lock",
        "disk of .* GB free, .*",
        f"port {copy.port} .*: this stack's nginx",
        "open files: this shell .*",
        *(f"open files: {name}'s workers may have .*" for name in ("nginx", "uwsgi", "gunicorn")),
        r"net.core.somaxconn: \d+, site .*",
        "permissions: .*env, environment, db.sqlite3.*",
        "sockets and pid files: .*",
        "settings: .*",
        "secrets: .*SECRET_KEY, TOKEN_KEYS.*",
        r"migrations: all \d+ applied",
        *(f"{part}: ready" for part in ("nginx", "site-a", "site-b", "api-a", "api-b")),
        "GET / of localhost .*: 200 .*",
    ):
        assert re.search(rf"^  ✓ {line}$", said, re.M), (line, said)
    assert set(re.findall("^  · (.*?):", said, re.M)) <= {"clock"}
    assert re.search(r"^\d+ right, 0 wrong", said, re.M)
    for secret in re.findall(r"^(?:SECRET_KEY|TOKEN_KEYS)=(.+)$", (copy.var.parent / "env").read_text(), re.M):
        assert secret not in said
    assert {path: path.lstat().st_mtime_ns for path in (copy.var / "run").rglob("*")} == before
    for app, before_it in logs.items():
        for now, then in zip(copy.read_logs(app), before_it, strict=True):
            # The one that it asks at the front door.
            assert [line for line in now[len(then) :] if "GET / 200" not in line] == []


def test_where_nothing_has_run(fresh: NativeStack, tmp_path: Path) -> None:
    said = well(fresh)
    assert "· instances: nothing runs; `make up` starts it" in said
    assert f"✓ port {fresh.port} of 127.0.0.1: free" in said
    assert not list(tmp_path.iterdir())


def test_where_nothing_is_installed(fresh: NativeStack) -> None:
    with copied() as project, socket.create_server(("127.0.0.1", fresh.port)):
        (project / ".venv").unlink()
        fresh.project = project
        said = sick(fresh)
        assert "· Python packages: nothing is installed yet; `make up` does that" in said
        assert f"(pid {os.getpid()})" in said
        assert not (project / ".venv").exists()


def test_somebody_else_has_the_port(fresh: NativeStack) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)):
        said = sick(fresh)
    assert f"kill {os.getpid()}; or another: make up PORT=8001" == mend(
        said, rf"port {fresh.port} .*taken by \S+ \(pid"
    )


def test_private_files_that_others_may_read(copy: NativeStack) -> None:
    for path in (copy.var.parent / "env", copy.var / "log"):
        path.chmod(0o755)
        remedy = mend(sick(copy), rf"{path} may be read by others: .rwxr-xr-x")
        assert remedy == f"chmod -R o= {path}"
        run(remedy)
    well(copy)


@pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else needs root")
def test_somebody_elses_files(copy: NativeStack) -> None:
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "make", "--no-print-directory"]
    done = subprocess.run(
        [*command, "doctor"], cwd=copy.project, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode, done.stdout
    remedy = mend(done.stdout, f"{copy.var} is www-data's, not yours")
    assert re.fullmatch(rf"go on as root; or make down as root, then: sudo chown -R \d+: {copy.var}", remedy)
    assert f"· settings: Permission denied: {copy.var.parent}/env" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_stack_of_a_third_kind(fresh: NativeStack) -> None:
    assert "STACK is 'both': it is compose or native" in sick(fresh, STACK="both")


def test_a_stale_socket(copy: NativeStack) -> None:
    path = copy.var / "run/site-c.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
        well(copy)
    remedy = mend(sick(copy), f"nobody listens on {path}")
    run(remedy)
    assert not path.exists()
    well(copy)


def test_a_stale_pid_file(fresh: NativeStack) -> None:
    path = fresh.var / "run/nginx.pid"
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    path.write_text(f"{gone.pid}\n")
    run(mend(sick(fresh), f"{path} names a process that is not there"))
    well(fresh)


def test_a_migration_that_is_not_applied(copy: NativeStack) -> None:
    file = copy.project / "django_site/accounts/migrations/0099_later.py"
    file.write_text(MIGRATION)
    try:
        assert mend(sick(copy), "migrations not applied: accounts.0099_later") == "make up"
    finally:
        file.unlink()


def test_an_instance_that_does_not_run(copy: NativeStack) -> None:
    copy.stop("site-a")
    try:
        said = sick(copy)
        assert "nobody listens" not in said
        assert mend(said, "site-a: site-a answers nothing").startswith("make up; make logs APP=site-a ")
        # The end of its log.
        assert "\n    goodbye to uWSGI.\n" in said
    finally:
        copy.up()
    well(copy)


def test_an_instance_that_gets_nothing(copy: NativeStack) -> None:
    take_out(copy.var / "run", "site-b")
    try:
        assert mend(sick(copy), "site-b: nginx sends it nothing") == "make restart APP=site"
    finally:
        take_back(copy.var / "run", "site-b")


def test_nginx_that_does_not_answer(copy: NativeStack) -> None:
    nginx = psutil.Process(copy.pids()["nginx"])
    family = [nginx, *nginx.children()]
    for process in family:
        process.suspend()
    try:
        said = sick(copy)
        assert mend(said, "nginx: it does not answer").startswith("make up; make logs APP=nginx ")
        assert mend(said, rf"GET / of localhost at 127.0.0.1:{copy.port}: timed out")
    finally:
        for process in family:
            process.resume()


def test_packages_other_than_those_of_the_lock(copy: NativeStack) -> None:
    lock = (copy.project / "uv.lock").read_text()
    [version] = re.findall(r'^name = "redis"\nversion = "(.+)"', lock, re.M)
    name, other = 'name = "redis"\nversion = ', f"redis-{version}-py3"
    with (
        edited(copy, "uv.lock", f'{name}"{version}"', f'{name}"8.0.99"'),
        edited(copy, "uv.lock", other, other.replace(version, "8.0.99")),
    ):
        assert mend(sick(copy), r"Python packages are not as in uv.lock: redis==8\.0\.99$") == "make up"
    with edited(copy, "uv.lock", "version = 1", "version = one"):
        assert mend(sick(copy), "uv.lock: .*") == "git checkout uv.lock; make up"


def test_too_few_open_files(copy: NativeStack) -> None:
    command = "ulimit -n 1000 && exec make --no-print-directory doctor"
    done = subprocess.run(
        ["sh", "-c", command], cwd=copy.project, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode, done.stdout
    assert "limits.d" in mend(done.stdout, "open files: this shell may have 1000, nginx needs 16384")

    [worker, *_] = psutil.Process(copy.pids()["api-a"]).children()
    limit(worker, "1000:")
    try:
        assert "make down up" in mend(sick(copy), "open files: gunicorn's workers may have 1000, and need 8000")
    finally:
        limit(worker, "8000:")


def limit(process: psutil.Process, files: str) -> None:
    """By whoever runs it, as that is allowed to anybody."""
    account = {"user": process.uids().real, "group": process.gids().real, "extra_groups": []}
    command = ["prlimit", f"--pid={process.pid}", f"--nofile={files}"]
    subprocess.run(command, check=True, **(account if os.geteuid() == 0 else {}))  # type: ignore[call-overload]


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of one's own needs root")
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
    assert done.returncode, done.stdout
    assert "sysctl" in mend(done.stdout, "net.core.somaxconn: 600, site listens with 1024: uWSGI refuses to start")
    assert "✓ net.core.somaxconn: 600, nginx" in done.stdout


@pytest.mark.parametrize(
    ("name", "secret", "fault"),
    [
        ("SECRET_KEY", "J8s-kWq0", "too short: 8 characters, 50 are the least"),
        ("SECRET_KEY", "abab" * 16, "has only 2 different characters"),
        ("SECRET_KEY", f"django-insecure-{SECRETS['SECRET_KEY']()}", "has a word in it that is guessed first"),
        ("TOKEN_KEYS", f"{SECRETS['TOKEN_KEYS']()},second:q8Zk2", "too short: 5 characters, 32 are the least"),
    ],
)
def test_a_secret_that_is_guessed(fresh: NativeStack, name: str, secret: str, fault: str) -> None:
    good = {each: SECRETS[each]() for each in ("SECRET_KEY", "TOKEN_KEYS")}
    said = sick(fresh, **good | {name: secret})
    assert "token_urlsafe" in mend(said, f"{name} .*{fault}")
    assert secret not in said


def test_a_database_that_does_not_answer(fresh: NativeStack) -> None:
    password = SECRETS["POSTGRES_PASSWORD"]()
    urls = {
        "DATABASE_URL": f"postgresql://site:{password}@127.0.0.1:{free_port()}/site",
        "REDIS_URL": f"redis://:{password}@127.0.0.1:{free_port()}/0",
    }
    said = sick(fresh, **urls)
    for name in urls:
        assert mend(said, f"{name}: 127.0.0.1 does not answer: .*refused") == f"start it, or mend {name}"
    assert password not in said


def test_a_database_that_answers(fresh: NativeStack) -> None:
    with postgresql() as database, redis() as bus:
        said = well(fresh, DATABASE_URL=database, REDIS_URL=bus)
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert f"✓ {name}: 127.0.0.1 answers, its clock is 0.0 s off this one" in said


def test_a_malformed_setting(fresh: NativeStack) -> None:
    assert ".env.example" in mend(sick(fresh, CORES="two"), "CORES is 'two': it should be a whole number")


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
    """A certificate that ends then, and its key; the variables that name them. Only `openssl ca` takes a date."""
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
        (-3, "✗ certificate: it ended on {:%d %b %Y}"),
        (20.5, "! certificate: it ends on {:%d %b %Y}, in 20 days"),
        (90.5, "✓ certificate: until {:%d %b %Y}, 90 days"),
    ],
)
def test_a_certificate_ends(fresh: NativeStack, tmp_path: Path, days: float, line: str) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    said = (sick if days < 0 else well)(fresh, **with_tls(ending(tmp_path, end)))
    assert f"  {line.format(end)}\n" in said
    assert ("renew it: put the new one in" in said) == (days < 30)


def test_a_certificate_that_is_not_the_keys_or_the_names(fresh: NativeStack, tmp_path: Path) -> None:
    files = self_signed(tmp_path, "192.0.2.7")
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other")
    said = sick(fresh, **with_tls(files | {"TLS_KEY": other["TLS_KEY"]}))
    assert "made together" in mend(said, f"{other['TLS_KEY']} is not the key of {files['TLS_CERTIFICATE']}")
    said = sick(fresh, **with_tls(files, ALLOWED_HOSTS="localhost,www.example.org,192.0.2.7,192.0.2.8"))
    assert re.findall(r"✗ certificate: it is not for (.+)", said) == ["www.example.org", "192.0.2.8"]
    Path(files["TLS_KEY"]).chmod(0o644)
    remedy = mend(sick(fresh, **with_tls(files)), f"{files['TLS_KEY']} may be read by others")
    run(remedy)
    assert "may be read" not in well(fresh, **with_tls(files))


def test_a_supervisord_that_was_killed(copy: NativeStack) -> None:
    """Last: what it left has to end before there is another."""
    supervisord, *left = copy.processes()
    supervisord.send_signal(signal.SIGKILL)
    supervisord.wait()
    said = sick(copy)
    assert re.search(rf"left processes behind: .*\b{left[0].pid}\b", said), said
    assert mend(said, "nobody listens on .*supervisord.sock") == f"rm {copy.var}/supervisor/supervisord.sock"
    assert mend(said, "left processes behind") == "make down; make up"
    assert copy.make("down").returncode == 0
    copy.up()
    well(copy)
