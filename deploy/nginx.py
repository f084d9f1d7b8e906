"""nginx's configuration: the project's files in nginx/, filled in, and accepted by nginx before it gets them.

In a container this is what starts it, `python3 -m deploy.nginx start`, and what gives it changed files, `reload`.
"""

import filecmp
import os
import shutil
import signal
import string
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.cores import cores
from deploy.env import PROJECT
from deploy.instance import INSTANCES, servers
from deploy.roll import take_back


class Refused(Exception):
    """nginx does not accept its configuration; what it says."""


class Words(string.Template):
    """Only words in capitals and braces are ours; nginx's own $variables stay as they are."""

    pattern = r"\$\{(?P<braced>[A-Z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]


def render(source: Path, destination: Path, variables: Mapping[str, str]) -> None:
    """Writes every file of `source`, filled in, to `destination`, which is made anew.

    Raises KeyError with the name of a variable that is not in `variables`.
    """
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(source, destination)
    for file in destination.rglob("*.conf"):
        file.write_text(Words(file.read_text()).substitute(variables))


def configure(var: Path, variables: Mapping[str, str]) -> bool:
    """Writes nginx's configuration to `var`/nginx; True if anything changed.

    Raises Refused, and leaves the old configuration, when nginx does not accept it.
    """
    fresh, current = var / "nginx.new", var / "nginx"
    render(PROJECT / "nginx", fresh, variables)
    if same(fresh, current):
        shutil.rmtree(fresh)
        return False
    command = ["nginx", "-t", "-q", "-p", str(var), "-c", str(fresh / "nginx.conf"), "-e", "stderr"]
    test = subprocess.run(command, capture_output=True, text=True, check=False)
    if test.returncode:
        raise Refused(f"nginx does not accept its configuration:\n{test.stderr}")
    shutil.rmtree(current, ignore_errors=True)
    fresh.rename(current)
    return True


def same(one: Path, other: Path) -> bool:
    files = [sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()) for root in (one, other)]
    return files[0] == files[1] and not any(filecmp.cmpfiles(one, other, files[0], shallow=False)[1:])


def main(command: str) -> None:
    """`check` only says whether nginx accepts its files with these settings; `prepare` leaves its start to who asks."""
    var = Path(os.environ["VAR_DIR"])
    run = var / "run"
    variables = servers(run, cores(), os.environ) | {
        **os.environ,
        "CORES": str(cores()),
        "SERVER_NAMES": os.environ["ALLOWED_HOSTS"].replace(",", " "),
    }
    for directory in ("tmp", "log"):
        (var / directory).mkdir(exist_ok=True)
    access_log = var / "log/access.log"
    # A file where there is one, on a host; a container's own output.
    if not os.path.lexists(access_log):
        access_log.symlink_to("/dev/stdout")
    changed = configure(var, variables)
    if command in ("start", "prepare"):
        if not (run / "upstream").exists():
            for instance in INSTANCES:
                take_back(run, instance)
        # Left behind by an nginx that was killed, which the next would not bind over.
        for left in run.glob("nginx.*"):
            left.unlink()
    if command == "start":
        os.execvp("nginx", ["nginx", "-p", str(var), "-c", "nginx/nginx.conf", "-e", "stderr", "-g", "daemon off;"])
    if command == "reload" and changed:
        os.kill(int((run / "nginx.pid").read_text()), signal.SIGHUP)
        print("reloaded")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyError as missing:
        raise SystemExit(f"{missing.args[0]} is not set, and nginx needs it") from None
    except Refused as refused:
        raise SystemExit(str(refused)) from None
