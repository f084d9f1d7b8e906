"""systemd's units, and what nginx does only on hosts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deploy.env import PROJECT

from tests.servers import program

UNITS = PROJECT / "deploy/systemd"
SERVICES = ["site@a", "api", "nginx", "clearsessions", "media"]


def installed(unit: str) -> str:
    """Its name on a host."""
    return unit if unit.startswith("nginx") else f"tandem-{unit}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's, with the units as the roles put them there."""
    directory = tmp_path / "etc/systemd/system"
    directory.mkdir(parents=True)
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]:
        name = installed(unit.name)
        shutil.copy(unit, directory / name)
        if unit.suffix == ".service":
            (directory / f"{name}.d").mkdir()
            shutil.copy(UNITS / "sandbox.conf", directory / f"{name}.d")
    return tmp_path


@pytest.mark.parametrize("service", SERVICES)
def test_systemd_finds_them_confined(root: Path, service: str) -> None:
    command = [program("systemd-analyze", "systemd"), f"--root={root}", "--offline=true", "--threshold=30", "security"]
    done = subprocess.run([*command, installed(f"{service}.service")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_is_a_roles() -> None:
    tasks = "".join(file.read_text() for file in (PROJECT / "deploy/ansible/roles").rglob("tasks/*.yml"))
    assert not [file.name for file in UNITS.iterdir() if file.name not in tasks]


@pytest.mark.parametrize("name", ["RestartSteps", "RestartMaxDelaySec", "RestartMode"])
def test_debian_12_knows_what_is_in_them(name: str) -> None:
    """systemd 252 says of these, which are younger, that it does not, and goes on without."""
    assert not [file for file in UNITS.iterdir() if name in file.read_text()]


def test_the_access_log_of_a_host_stays_a_file(tmp_path: Path) -> None:
    """And in a container, which has none, it is the container's own output."""
    for host in (True, False):
        var = tmp_path / str(host)
        (var / "log").mkdir(parents=True)
        log = var / "log/access.log"
        if host:
            log.write_text("a line\n")
        subprocess.run(
            [sys.executable, "-m", "deploy.nginx", "check"],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "VAR_DIR": str(var), "ALLOWED_HOSTS": "localhost"},
            capture_output=True,
            check=False,
        )
        assert log.is_symlink() != host
        assert not host or log.read_text() == "a line\n"
