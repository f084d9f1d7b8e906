"""The message of `make up` on a machine that it cannot prepare itself. Functions stand in for such machines."""

import shutil
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
