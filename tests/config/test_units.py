"""systemd's units, and nginx's configuration on hosts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.core.apps import INSTANCES, PROJECT
from deploy.servers import SERVERS
from tests.servers import program

pytestmark = pytest.mark.slow

UNITS = PROJECT / "deploy/systemd"
SERVICES = sorted(UNITS.glob("*.service"))


def installed(unit: str) -> str:
    """Return a unit's name on a host."""
    return unit if unit == "nginx.service" else f"tandem-{unit}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root directory, with the units as the roles install them."""
    directory = tmp_path / "etc/systemd/system"
    directory.mkdir(parents=True)
    for unit in SERVICES:
        name = installed(unit.name)
        shutil.copy(unit, directory / name)
        (directory / f"{name}.d").mkdir()
        shutil.copy(UNITS / "sandbox.conf", directory / f"{name}.d")
    return tmp_path


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_units_are_confined(root: Path, service: str) -> None:
    """`systemd-analyze security` rates them 3 or less of 10."""
    name = installed(service).replace("@", "@site-a")
    command = [program("systemd-analyze", "systemd"), f"--root={root}", "--offline=true", "--threshold=30", "security"]
    done = subprocess.run([*command, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_server_kind_has_a_unit() -> None:
    wanted = {server.unit.format(instance="") + ".service" for server in SERVERS.values()}
    assert wanted <= {installed(service.name) for service in SERVICES}


def test_a_role_installs_every_file() -> None:
    tasks = "".join(file.read_text() for file in (PROJECT / "deploy/ansible/roles").rglob("*.yml"))
    of_servers = {server.unit.format(instance="") + ".service" for server in SERVERS.values()}
    files = [file.name for file in UNITS.iterdir() if installed(file.name) not in of_servers]
    assert not [name for name in files if name not in tasks]


@pytest.mark.parametrize("kind", ["uwsgi", "command"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_the_app_follows_from_the_instance(kind: str, instance: str) -> None:
    [line] = [line for line in (UNITS / f"{kind}@.service").read_text().splitlines() if line.startswith("ExecStart=")]
    # systemd's own parsing of the line, with another program appended.
    script = line.partition("'")[2].rpartition("'")[0].replace("$$", "$").replace("%%", "%").partition(" && ")[0]
    done = subprocess.run(
        ["sh", "-c", f"{script}; echo $APP"], env={"INSTANCE": instance}, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == INSTANCES[instance].app.name


@pytest.mark.parametrize("name", ["RestartSteps", "RestartMaxDelaySec", "RestartMode"])
def test_debian_12_has_the_options(name: str) -> None:
    """systemd 252 ignores these newer options."""
    assert not [file for file in (*UNITS.iterdir(), *SERVICES) if name in file.read_text()]


def test_the_access_log_of_a_host_stays_a_file(tmp_path: Path) -> None:
    """In a container there is no file, and the log goes to the container's output."""
    for host in (True, False):
        var = tmp_path / str(host)
        (var / "log").mkdir(parents=True)
        log = var / "log/access.log"
        if host:
            log.write_text("a line\n")
        subprocess.run(
            [sys.executable, "-m", "deploy.core.nginx", "check"],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "VAR_DIR": str(var), "ALLOWED_HOSTS": "localhost"},
            capture_output=True,
            check=False,
        )
        assert log.is_symlink() != host
        assert not host or log.read_text() == "a line\n"
