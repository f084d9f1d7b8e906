"""What the machine needs before the stack runs on it, and the virtual environment .venv.

It runs on the system's own Python with the standard library only.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from deploy.core import owner
from deploy.core.console import ok
from deploy.core.environment import is_writable
from deploy.core.settings import (
    HELD,
    PROJECT,
    TLS_FILES,
    VAR,
    listen_addresses,
    one_at_a_time,
    read_file,
    setting,
    values,
)
from deploy.core.supervisor import processes_of, socket_path

VENV = PROJECT / ".venv"
# The settings of the last `make up` on this machine.
ENVIRONMENT = VAR / "environment"
OLDEST, NEWEST = (3, 11), (3, 13)
# The umask of what makes .venv: root's stack runs as www-data, which has to read the packages.
READABLE = 0o022
# Bytes. .venv takes 200 MB, or 780 with the packages of the tests and the lab; the rest is for data and logs.
FREE_DISK = 1_000_000_000
BROTLI = Path("/usr/lib/nginx/modules/ngx_http_brotli_static_module.so")
ELSEWHERE = ["dnf install", "zypper install", "pacman -S", "apk add", "brew install"]
NGINX_PACKAGES = ["nginx", "libnginx-mod-http-brotli-static"]


def stop(what: str, remedy: str) -> NoReturn:
    raise SystemExit(f"  ✗ {what}\n    {remedy}")


def suitable(python: str) -> bool:
    """Return whether a Python works and has a version that the packages support."""
    compare = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    try:
        return subprocess.run([python, "-c", compare], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def suitable_python() -> str:
    """Return the path of the Python for .venv; empty if there is none."""
    # Debian's own first: it links libpython statically, with which uWSGI serves 1.8 times as much as with most others.
    for name in ["/usr/bin/python3", "python3", "python3.13", "python3.12", "python3.11"]:
        python = shutil.which(name)
        if python and suitable(python):
            return python
    return ""


def find_python() -> str:
    if python := suitable_python():
        return python
    oldest, newest = (".".join(map(str, version)) for version in (OLDEST, NEWEST))
    stop(f"no Python from {oldest} to {newest}", f"install one, for example python{newest}, and run this again")


def debian_family() -> bool:
    release = Path("/etc/os-release")
    return release.exists() and bool(re.search(r'^ID(_LIKE)?="?.*\b(debian|ubuntu)', release.read_text(), re.M))


def sudo() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo"]


def install_debian(packages: list[str], why: str) -> None:
    command = [*sudo(), "apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if not debian_family():
        tool = next((words for words in ELSEWHERE if shutil.which(words.split()[0])), "your package manager's install")
        stop(why, f"`sudo {tool} {' '.join(packages)}`, or what they are called here, and run this again")
    if not shutil.which(command[0]):
        stop(f"{why}, and there is no sudo to install it with", f"as root: {' '.join(command[1:])}")
    print(f"  · {why}: {' '.join(command)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in ([*sudo(), "apt-get", "update"], command):
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            stop(f"{' '.join(step)} failed", (done.stdout + done.stderr).strip()[-2000:])


def nginx_version() -> str:
    """Return nginx's name and version; empty if it or its brotli module is missing."""
    if not shutil.which("nginx") or not BROTLI.exists():
        return ""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().removeprefix("nginx version: ")


def why_taken(address: str, port: str) -> str:
    """Return why nothing can listen on a port; empty if it is free."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in address:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind((address, int(port)))
        except PermissionError:
            # A port below 1024. Docker's engine, which opens it, is root.
            return ""
        except OSError as error:
            return str(error.strerror)
    return ""


def ports() -> list[tuple[str, str]]:
    """Return the setting and the number of each port that nginx is to listen on."""
    given = values()
    return [(name, given[name]) for name in ("PORT", *(["PLAIN_PORT"] if given["TLS"] == "on" else []))]


def check_ports(own: Callable[[str], bool]) -> None:
    """Stop if another program listens on a port. `own` returns whether the stack itself does."""
    for name, port in ports():
        for address in listen_addresses(setting("ADDRESS")):
            if (why := why_taken(address, port)) and not own(port):
                stop(f"port {port} of {address}: {why}", f"choose another: `make up {name}={int(port) + 1}`")
        ok(f"port {port}")


def is_up() -> bool:
    """Return whether the stack runs on this machine without containers. A supervisord that stopped answering counts."""
    with socket.socket(socket.AF_UNIX) as supervisor, contextlib.suppress(OSError):
        supervisor.settimeout(5)
        supervisor.connect(str(socket_path(VAR)))
        return True
    return False


def running_settings() -> dict[str, str]:
    """Return the settings of the last `make up` on this machine, which the running processes have."""
    try:
        return read_file(ENVIRONMENT)
    except OSError:
        return {}


def check_disk() -> None:
    if (free := shutil.disk_usage(PROJECT).free) < FREE_DISK:
        stop(f"{free / 1e9:.1f} GB free on disk", f"{FREE_DISK / 1e9:.0f} GB is needed")
    ok(f"{free / 1e9:.0f} GB free on disk")


def check_machine() -> None:
    """Check what the stack needs on this machine, and install nginx if it is missing."""
    print("Preflight", flush=True)
    if setting("ACME_EMAIL"):
        stop(
            "ACME_EMAIL is for containers",
            "get a certificate, for example with certbot, and set TLS_CERTIFICATE and TLS_KEY",
        )
    for name, port in ports():
        if int(port) < 1024:
            stop(f"{name} is {port}: ports below 1024 are for containers", f"choose another: `make up {name}=8000`")
    # A killed supervisord may have left nginx behind.
    running = running_settings() if any(processes_of(VAR)) else {}
    listening = [running.get(name, "") for name in ("LISTEN", "LISTEN_PLAIN")]
    check_ports(lambda port: any(each.endswith(f":{port}") for each in listening))
    if values()["TLS"] == "on":
        owner.check_readable(*(Path(setting(name)) for name in TLS_FILES))
    owner.check_readable(PROJECT / "deploy/cli.py")
    check_disk()
    if not nginx_version():
        fresh = not shutil.which("nginx")
        install_debian(NGINX_PACKAGES, "nginx or its brotli module is missing")
        # Debian starts a service that it installs, here on port 80 of every address. This stack starts its own.
        for command in (["service", "nginx", "stop"], ["update-rc.d", "nginx", "disable"]) if fresh else ():
            subprocess.run([*sudo(), *command], capture_output=True, check=False)
    ok(nginx_version())


def install(groups: Iterable[str], quiet: bool = False) -> None:
    """Install what uv.lock pins into .venv: uv, the apps' packages and these groups.

    A symbolic link leads to the environment of another checkout, so it is only compared with uv.lock.
    """
    # --inexact leaves alone what was installed earlier for another purpose.
    command = [str(VENV / "bin/uv"), "sync", "--frozen", "--quiet", "--compile-bytecode", "--inexact"]
    command += [f"--group={name}" for name in groups]
    command += [] if is_writable(os.environ.get("HOME", "/")) else ["--no-cache"]
    if VENV.is_symlink():
        if not (works(VENV / "bin/uv") and run_uv([*command, "--check"])):
            stop(f"{VENV} is a link to {VENV.resolve()}, which differs from uv.lock", f"rm {VENV}, and run this again")
    elif not is_sound() or not run_uv([*command, "--check"], stderr=subprocess.DEVNULL):
        # Beside .venv, because venv deletes everything in it. Another command may be at it, or a uv whose command was
        # killed, which holds this lock.
        with one_at_a_time(unfinished()):
            again = has_content(unfinished())
            unfinished().write_text("yes")
            if not is_sound(but_unfinished=True):
                make_venv()
                quiet = False
            if not run_uv([*command, *(["--reinstall"] if again else [])], pass_fds=HELD):
                stop("`uv sync --frozen` failed", "the lines above say why; is PyPI reachable?")
            unfinished().write_text("")
    if not quiet:
        ok("Python packages as in uv.lock")


def unfinished() -> Path:
    """Return the file that has content while packages are installed: a killed installation may look complete."""
    return VENV.with_name(f"{VENV.name}.lock")


def is_sound(but_unfinished: bool = False) -> bool:
    """Return whether .venv has a suitable Python of its own and uv, and no killed installation."""
    # Without pyvenv.cfg its Python is the system's, and uv would install there.
    own = (VENV / "pyvenv.cfg").is_file() and works(VENV / "bin/uv") and suitable(str(VENV / "bin/python"))
    return own and (but_unfinished or not has_content(unfinished()))


def run_uv(command: list[str], **options: Any) -> bool:
    return subprocess.run(command, cwd=PROJECT, umask=READABLE, check=False, **options).returncode == 0


def has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def works(program: Path) -> bool:
    """Return whether a program of .venv starts. A killed installation leaves half of one."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    python = find_python()
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    ok(f"{version}, {python}")
    if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        install_debian(["python3-venv"], "Python's venv module is missing")
    [uv] = re.findall(r'^name = "uv"\nversion = "(.+)"', (PROJECT / "uv.lock").read_text(), re.M)
    print("  · making .venv (once, less than a minute)", flush=True)
    for step in (
        [python, "-m", "venv", "--clear", str(VENV)],
        # A user's or machine's pip.conf may say `user = true`, which fails in a virtual environment.
        [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--no-user", f"uv=={uv}"],
    ):
        if subprocess.run(step, umask=READABLE, check=False).returncode:
            stop("could not make .venv", "the lines above say why; is PyPI reachable?")
