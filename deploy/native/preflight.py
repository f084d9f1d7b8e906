"""Looks at the machine before `make up` touches anything, then makes the Python side in .venv.

Runs on the system's own Python with nothing but the standard library. `--tests` also installs what the
tests and linters need, `--lab` what the lab compares. `--controller` is for a machine that deploys to others, and
`--template` for one that makes projects: they run nothing themselves.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

from deploy.env import PROJECT, VAR, setting

VENV = PROJECT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 13)
# .venv is 200 MB, and 780 with what the tests and the lab need; the rest is for data and logs.
FREE_DISK = 1_000_000_000
BROTLI = Path("/usr/lib/nginx/modules/ngx_http_brotli_static_module.so")
ELSEWHERE = ["dnf install", "zypper install", "pacman -S", "apk add", "brew install"]
NGINX_PACKAGES = ["nginx", "libnginx-mod-http-brotli-static"]


def ok(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


def stop(what: str, remedy: str) -> NoReturn:
    raise SystemExit(f"  ✗ {what}\n    {remedy}")


def suitable(python: str) -> bool:
    version = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    ).stdout.split()
    return len(version) == 2 and OLDEST <= (int(version[0]), int(version[1])) <= NEWEST


def suitable_python() -> str:
    """The one that .venv is made with; empty if there is none."""
    # Debian's own first: uWSGI in an interpreter with libpython linked statically, as it is there, serves 1.8 times
    # what it does in most others.
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


def install(packages: list[str], why: str) -> None:
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
    """As it says it; empty when it or its brotli module is missing."""
    # Debian's place for it, which an ordinary user's PATH leaves out.
    os.environ["PATH"] += ":/usr/sbin"
    if not shutil.which("nginx") or not BROTLI.exists():
        return ""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().removeprefix("nginx version: ")


def have_nginx() -> None:
    if not nginx_version():
        fresh = not shutil.which("nginx")
        install(NGINX_PACKAGES, "nginx or its brotli module is missing")
        if fresh:
            # Debian starts a service that it installs, here on port 80 of every address; this stack starts its own.
            for command in (["service", "nginx", "stop"], ["update-rc.d", "nginx", "disable"]):
                subprocess.run([*sudo(), *command], capture_output=True, check=False)
    ok(nginx_version())


def why_taken(address: str, port: str) -> str:
    """Why nothing can listen there now; empty when it can."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, int(port)))
        except OSError as error:
            return str(error.strerror)
    return ""


def check_port(own: bool) -> None:
    """`own`: it is the stack's already, which may keep it."""
    address, port = setting("ADDRESS"), setting("PORT")
    if (why := why_taken(address, port)) and not own:
        stop(f"port {port} of {address}: {why}", "take another: `make up PORT=8001`")
    ok(f"port {port}")


def is_up() -> bool:
    """The stack runs on this machine itself."""
    with socket.socket(socket.AF_UNIX) as supervisor:
        return supervisor.connect_ex(str(VAR / "supervisor/supervisord.sock")) == 0


def check_disk() -> None:
    free = shutil.disk_usage(PROJECT).free
    if free < FREE_DISK:
        stop(f"{free / 1e9:.1f} GB free on disk", f"{FREE_DISK / 1e9:.0f} GB is needed")
    ok(f"{free / 1e9:.0f} GB free on disk")


def can_build() -> bool:
    """What the lab has no wheel for: with a compiler, and the headers of Python and libev."""
    include = sysconfig.get_path("include")
    return bool(shutil.which("gcc")) and Path(include, "Python.h").exists() and Path("/usr/include/ev.h").exists()


def sync(python: str, what: list[str]) -> None:
    """.venv as uv.lock has it; uv itself comes from there too, in the version that the lock names."""
    lock = (PROJECT / "uv.lock").read_text()
    [version] = re.findall(r'^name = "uv"\nversion = "(.+)"', lock, re.M)
    uv = VENV / "bin/uv"
    if not uv.exists():
        print("  · making .venv (once, less than a minute)", flush=True)
        for step in (
            [python, "-m", "venv", "--clear", str(VENV)],
            [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", f"uv=={version}"],
        ):
            if subprocess.run(step, check=False).returncode:
                stop("could not make .venv", "the lines above say why; is PyPI reachable?")
    if subprocess.run(
        [uv, "sync", "--frozen", "--quiet", "--compile-bytecode", *what], cwd=PROJECT, check=False
    ).returncode:
        stop("`uv sync --frozen` failed", "the lines above say why; is PyPI reachable?")
    ok("Python packages as in uv.lock")


def main() -> None:
    tests, lab, controller, template = (
        f"--{option}" in sys.argv for option in ("tests", "lab", "controller", "template")
    )
    print("Preflight", flush=True)
    python = find_python()
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    ok(f"{version}, {python}")
    if not (tests or lab or controller or template):
        check_port(own=is_up() and f":{setting('PORT')};" in (VAR / "nginx/server-tls-off.conf").read_text())
    check_disk()
    if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        install(["python3-venv"], "Python's venv module is missing")
    if not (controller or template):
        have_nginx()
    wanted = {"hosts": controller, "lab": lab, "template": template}
    groups = [f"--group={name}" for name in wanted if wanted[name]]
    if (lab or tests) and can_build():
        groups.append("--group=lab-built")
    # --inexact leaves alone what an earlier one installed for another purpose.
    sync(python, ["--group=dev", *groups] if tests else ["--no-dev", "--inexact", *groups])


if __name__ == "__main__":
    main()
