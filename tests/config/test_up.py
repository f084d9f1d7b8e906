"""What `make up` prints while it prepares the apps. Functions stand in for the commands of the apps."""

from pathlib import Path
from typing import IO, Any

import pytest

from deploy.core import first_data
from deploy.core.apps import APPS
from deploy.core.console import Failed
from deploy.targets.native import up
from deploy.targets.native.target import NativeTarget


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT", "FRESH"):
        monkeypatch.setattr(first_data, name, tmp_path / name)


def test_the_first_data_is_printed_when_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start that fails later must not lose a generated password."""
    seeds = [app.seed for app in APPS.values() if app.seed]
    monkeypatch.setattr(up, "run_python", lambda *_, stdout=None, **__: stdout and stdout.write("password: Xq3"))
    up.prepare(NativeTarget({"CORES": "1"}), set(APPS))
    assert capsys.readouterr().out.count("\npassword: Xq3\n") == len(seeds)


def test_the_first_data_of_a_killed_command_is_printed_by_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    def killed(file: IO[Any]) -> None:
        file.write("password: Xq3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_data.show(killed)
    assert "Xq3" not in capsys.readouterr().out
    first_data.show(lambda file: None)
    assert "password: Xq3" in capsys.readouterr().out
    first_data.show(lambda file: None)
    assert capsys.readouterr().out == ""


def test_the_first_data_that_was_not_committed_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    first_data.FRESH.write_text("password: rolled back")
    first_data.show(lambda file: file.write("password: Xq3"))
    assert capsys.readouterr().out == "\npassword: Xq3\n\n"


def test_an_app_that_cannot_be_prepared_stops_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, *command: str) -> str:
        raise Failed("no such table")

    monkeypatch.setattr(up, "run_python", fail)
    with pytest.raises(Failed, match="no such table"):
        up.prepare(NativeTarget({"CORES": "1"}), set(APPS))
