"""The message of `make up` on a machine that it cannot prepare itself. Functions stand in for such machines."""

import shutil

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
