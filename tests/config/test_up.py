"""What `make up` prints while it prepares the apps. Functions stand in for the commands of the apps."""

import pytest

from deploy.core.apps import APPS
from deploy.core.console import Failed
from deploy.targets.native import up
from deploy.targets.native.target import NativeTarget


def test_the_first_data_is_printed_when_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start that fails later must not lose a generated password."""
    seeds = [app.seed.split() for app in APPS.values() if app.seed]
    monkeypatch.setattr(up, "run_python", lambda _, *command: "password: Xq3" if list(command) in seeds else "")
    up.prepare(NativeTarget({"CORES": "1"}), set(APPS))
    assert capsys.readouterr().out.count("\npassword: Xq3\n") == len(seeds)


def test_an_app_that_cannot_be_prepared_stops_make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, *command: str) -> str:
        raise Failed("no such table")

    monkeypatch.setattr(up, "run_python", fail)
    with pytest.raises(Failed, match="no such table"):
        up.prepare(NativeTarget({"CORES": "1"}), set(APPS))
