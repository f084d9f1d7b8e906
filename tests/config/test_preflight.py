"""The message of `make up` on a machine that it cannot prepare itself. Functions stand in for such machines."""

import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest

from deploy.core import preflight


def only(*programs: str) -> object:
    return lambda name, **_: f"/usr/bin/{name}" if name in programs else None


def test_on_other_systems_it_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "debian_family", lambda: False)
    monkeypatch.setattr(shutil, "which", only("dnf"))
    with pytest.raises(SystemExit, match=r"nginx is missing\n +`sudo dnf install nginx brotli`"):
        preflight.install_debian(["nginx", "brotli"], "nginx is missing")


def test_without_sudo_it_names_the_command_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "debian_family", lambda: True)
    monkeypatch.setattr(preflight, "sudo", lambda: ["sudo"])
    monkeypatch.setattr(shutil, "which", only())
    with pytest.raises(SystemExit, match=r"as root: apt-get install --yes .*nginx"):
        preflight.install_debian(["nginx"], "nginx is missing")


def test_without_a_suitable_python_it_names_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "suitable", lambda python: False)
    with pytest.raises(SystemExit, match=r"no Python from 3\.11 to 3\.13"):
        preflight.find_python()


def test_a_full_disk_stops_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_DISK", 10**18)
    with pytest.raises(SystemExit, match=r"GB free on disk\n.*is needed"):
        preflight.check_disk()


@pytest.mark.slow
@pytest.mark.parametrize("has_uv", [True, False])
def test_nothing_is_installed_through_a_link(has_uv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link leads to the environment of another checkout."""
    other, link = tmp_path / "other", tmp_path / ".venv"
    uv = other / "bin/uv"
    uv.parent.mkdir(parents=True)
    if has_uv:
        uv.write_text(
            '#!/bin/sh\ncase "$*" in *--check*) exit 1 ;; --version) exit ;; esac\ntouch $(dirname $0)/installed\n'
        )
        uv.chmod(0o755)
    link.symlink_to(other)
    monkeypatch.setattr(preflight, "VENV", link)
    with pytest.raises(SystemExit, match=rf"{link} is a link to {other}, which differs .*\n +rm {link}, and run"):
        preflight.install([])
    assert list(uv.parent.iterdir()) == ([uv] if has_uv else [])


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment whose uv writes down the words that it was given."""
    made = tmp_path / ".venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin/python").symlink_to(sys.executable)
    (made / "pyvenv.cfg").touch()
    uv = made / "bin/uv"
    # uv.lock differs: --check fails.
    uv.write_text(
        '#!/bin/sh\ncase "$*" in --version) exit ;; *--check*) exit 1 ;; esac\necho "$@" >>"$(dirname "$0")/said"\n'
    )
    uv.chmod(0o755)
    monkeypatch.setattr(preflight, "VENV", made)
    return made


@pytest.mark.slow
def test_packages_that_were_half_installed_are_installed_again(venv: Path) -> None:
    """uv is killed in the middle of a package, which then looks whole."""
    preflight.unfinished().write_text("yes")
    preflight.install([])
    assert "--reinstall" in (venv / "bin/said").read_text()
    assert preflight.unfinished().read_text() == ""
    (venv / "bin/said").unlink()
    preflight.install([])
    assert "--reinstall" not in (venv / "bin/said").read_text()


@pytest.mark.slow
def test_an_installation_that_fails_is_unfinished(venv: Path) -> None:
    (venv / "bin/uv").write_text('#!/bin/sh\n[ "$1" = --version ]\n')
    with pytest.raises(SystemExit, match="uv sync --frozen"):
        preflight.install([])
    assert preflight.unfinished().read_text()


@pytest.mark.slow
def test_two_commands_install_one_after_the_other(venv: Path) -> None:
    """The second does not take the first, which is at it, for a killed one."""
    uv = venv / "bin/uv"
    uv.write_text(uv.read_text().replace("echo", "sleep 0.5; echo"))
    threads = [threading.Thread(target=preflight.install, args=([],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "--reinstall" not in (venv / "bin/said").read_text()


@pytest.mark.slow
def test_what_is_installed_stays_as_it_is(venv: Path) -> None:
    (venv / "bin/uv").write_text("#!/bin/sh\nexit 0\n")
    before = {path: path.stat().st_mtime_ns for path in venv.rglob("*")}
    preflight.install([])
    assert {path: path.stat().st_mtime_ns for path in venv.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "half", ["no python", "dangling python", "empty uv", "no uv", "uv of another python", "no pyvenv.cfg"]
)
def test_half_of_a_virtual_environment_is_made_anew(venv: Path, half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python, uv = venv / "bin/python", venv / "bin/uv"
    if half in ("no python", "dangling python"):
        python.unlink()
    if half == "dangling python":
        python.symlink_to("/nonexistent/python3")
    if half == "no uv":
        uv.unlink()
    if half == "no pyvenv.cfg":
        # `python3 -m venv --clear` was killed while it deleted. uv would install into the system's Python.
        (venv / "pyvenv.cfg").unlink()
    if half == "empty uv":
        uv.write_text("")
        uv.chmod(0o644)
    if half == "uv of another python":
        uv.write_text("#!/nonexistent/python3\n")

    class MadeAnew(Exception):
        pass

    def make_venv() -> None:
        raise MadeAnew

    monkeypatch.setattr(preflight, "make_venv", make_venv)
    with pytest.raises(MadeAnew):
        preflight.install([])


def test_a_taken_port_is_found_on_every_kind_of_address() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((address, 0), family=family) as server:
            assert "in use" in preflight.why_taken(address, str(server.getsockname()[1]))
