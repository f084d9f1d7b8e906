"""What `make up` says on a machine that it cannot mend by itself. Stands in for machines that cannot be had here."""

import shutil

import pytest

from deploy.native import preflight


def only(*programs: str) -> object:
    return lambda name, **_: f"/usr/bin/{name}" if name in programs else None


def test_elsewhere_than_on_debian_it_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "debian_family", lambda: False)
    monkeypatch.setattr(shutil, "which", only("dnf"))
    with pytest.raises(SystemExit, match=r"nginx is missing\n +`sudo dnf install nginx brotli`"):
        preflight.install(["nginx", "brotli"], "nginx is missing")


def test_without_sudo_it_names_the_command_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "debian_family", lambda: True)
    monkeypatch.setattr(preflight, "sudo", lambda: ["sudo"])
    monkeypatch.setattr(shutil, "which", only())
    with pytest.raises(SystemExit, match=r"as root: apt-get install --yes .*nginx"):
        preflight.install(["nginx"], "nginx is missing")


def test_without_a_suitable_python_it_says_which_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "suitable", lambda python: False)
    with pytest.raises(SystemExit, match=r"no Python from 3\.11 to 3\.13"):
        preflight.find_python()


def test_a_full_disk_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_DISK", 10**18)
    with pytest.raises(SystemExit, match=r"GB free on disk\n.*is needed"):
        preflight.check_disk()
