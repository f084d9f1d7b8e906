"""What the machine needs before the stack runs on it, and the virtual environment .venv.

It runs on the system's own Python with the standard library only.
"""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from deploy.core.console import ok
from deploy.core.settings import PROJECT, VAR, setting
from deploy.core.supervisor import socket_path

VENV = PROJECT / ".venv"
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
    compare = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    return subprocess.run([python, "-c", compare], capture_output=True, check=False).returncode == 0


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
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, int(port)))
        except OSError as error:
            return str(error.strerror)
    return ""


def check_port(own: bool) -> None:
    """Stop if the port is taken. `own`: the stack itself has it."""
    address, port = setting("ADDRESS"), setting("PORT")
    if (why := why_taken(address, port)) and not own:
        stop(f"port {port} of {address}: {why}", "choose another: `make up PORT=8001`")
    ok(f"port {port}")


def is_up() -> bool:
    """Return whether the stack runs on this machine without containers."""
    with socket.socket(socket.AF_UNIX) as supervisor:
        return supervisor.connect_ex(str(socket_path(VAR))) == 0


def check_disk() -> None:
    if (free := shutil.disk_usage(PROJECT).free) < FREE_DISK:
        stop(f"{free / 1e9:.1f} GB free on disk", f"{FREE_DISK / 1e9:.0f} GB is needed")
    ok(f"{free / 1e9:.0f} GB free on disk")


def check_machine() -> None:
    """Check what the stack needs on this machine, and install nginx if it is missing."""
    print("Preflight", flush=True)
    configuration = VAR / "nginx/server-tls-off.conf"
    own = is_up() and configuration.exists() and f":{setting('PORT')};" in configuration.read_text()
    check_port(own)
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
    uv, linked = VENV / "bin/uv", VENV.is_symlink()
    if not (linked or uv.exists()):
        make_venv()
        quiet = False
    # --inexact leaves alone what was installed earlier for another purpose.
    command = [str(uv), "sync", "--frozen", "--quiet", "--compile-bytecode", "--inexact"]
    command += [*(["--check"] if linked else []), *(f"--group={name}" for name in groups)]
    installed = uv.exists() and not subprocess.run(command, cwd=PROJECT, umask=READABLE, check=False).returncode
    if linked and not installed:
        stop(f"{VENV} is a link to {VENV.resolve()}, which differs from uv.lock", f"rm {VENV}, and run this again")
    if not installed:
        stop("`uv sync --frozen` failed", "the lines above say why; is PyPI reachable?")
    if not quiet:
        ok("Python packages as in uv.lock")


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
        [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", f"uv=={uv}"],
    ):
        if subprocess.run(step, umask=READABLE, check=False).returncode:
            stop("could not make .venv", "the lines above say why; is PyPI reachable?")
